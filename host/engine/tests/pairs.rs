//! Every base with every head: nothing in the host knows them by name.

#[path = "support/composition.rs"]
mod composition;

use std::collections::BTreeMap;

use hssl_engine::component::{Kind, StepInfo};
use hssl_engine::plugin::{Outcome, Registry, conformance};
use hssl_engine::train::{BatchViews, Learner, Rates};
use hssl_tensor::{Array, Device};

use composition::{configuration, registry};

const PLUGINS: [&str; 16] = [
    "vit",
    "swin",
    "convnext",
    "resnet",
    "resmlp",
    "poolformer",
    "pvt",
    "dino",
    "ibot",
    "simclr",
    "byol",
    "moco",
    "vicreg",
    "barlow",
    "mae",
    "mff",
];

/// Small ones, with maps of 4 x 4 or 2 x 2 for images of 64 x 64.
const BASES: [(&str, &str); 8] = [
    ("vit", "patch_size = 16\nimg_size = 64\nembed_dim = 32\ndepth = 2\nnum_heads = 2"),
    (
        "swin",
        "patch_size = 2\nimg_size = 64\nwindow_size = 4\nembed_dim = 8\ndepths = [1, 1, 2, 1]\nnum_heads = [1, 1, 1, 2]",
    ),
    ("convnext", "patch_size = 2\ndims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]"),
    ("resnet", "arch = \"resnet18\"\nwidths = [8, 16, 24, 32]\ndepths = [1, 1, 1, 1]"),
    ("resmlp", "patch_size = 16\nimg_size = 64\nembed_dim = 32\ndepth = 2\nlayer_scale = 0.1"),
    ("poolformer", "dims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]"),
    (
        "pvt",
        "patch_size = 2\nimg_size = 64\nembed_dims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]\nnum_heads = [1, 1, 1, 2]",
    ),
    ("pvt_v2", "embed_dims = [8, 16, 24, 32]\ndepths = [1, 1, 2, 1]\nnum_heads = [1, 1, 1, 2]"),
];

/// Methods, small.
const METHODS: [(&str, &str); 10] = [
    ("dino", "out_dim = 24\nhidden_dim = 16\nbottleneck_dim = 8"),
    ("ibot", "out_dim = 24\nhidden_dim = 16\nbottleneck_dim = 8"),
    ("attmask", "out_dim = 24\nhidden_dim = 16\nbottleneck_dim = 8"),
    ("simclr", "out_dim = 12\nhidden_dim = 16"),
    ("byol", "out_dim = 12\nhidden_dim = 16"),
    ("moco", "out_dim = 12\nhidden_dim = 16"),
    ("vicreg", "out_dim = 12\nhidden_dim = 16"),
    ("barlow", "out_dim = 12\nhidden_dim = 16"),
    ("mae", "decoder_embed_dim = 16\ndecoder_depth = 1\ndecoder_num_heads = 2"),
    (
        "mff",
        "fuse_layers = [0, 1]\ndecoder_embed_dim = 16\ndecoder_depth = 1\ndecoder_num_heads = 2",
    ),
];

const HEADS: [&str; 7] = ["vit", "swin", "convnext", "resnet", "resmlp", "poolformer", "pvt"];

/// DINO on a base, with the named heads.
fn learner(base: (&str, &str), heads: &[&str], supervision: &str, plugins: &Registry) -> Learner {
    composed(METHODS[0], base, heads, supervision, plugins)
        .unwrap_or_else(|error| panic!("{} with {heads:?}: {error}", base.0))
}

/// A method on a base, with the named heads.
fn composed(
    (method, method_options): (&str, &str),
    (name, options): (&str, &str),
    heads: &[&str],
    supervision: &str,
    plugins: &Registry,
) -> Result<Learner, hssl_engine::Error> {
    let heads: String = heads
        .iter()
        .map(|head| format!("[heads.{head}]\nplugin = \"{head}\"\ndepth = 2\n"))
        .collect();
    let text = format!(
        "[backbone]\nplugin = \"{name}\"\n{options}\n{heads}
         [objective]\nplugin = \"{method}\"\n{method_options}
         [hssl]\nsupervision = \"{supervision}\"
         [data]\ntrain = \"generated:shapes?n=8&size=64\"
         [views]\nglobal_crops_size = 64\nlocal_crops_number = 2\nlocal_crops_size = 32
         [train]\nepochs = 2\nbatch_size = 4\ndrop_path = 0.1"
    );
    let config = configuration(&text, &[], plugins);
    Learner::build(&config, plugins, &Device::Cpu)
}

fn views(local: bool) -> BatchViews {
    let noise = |shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 78.233).sin() * 1.4);
        Array::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
    };
    BatchViews {
        global: noise(&[2, 4, 3, 64, 64]),
        local: local.then(|| noise(&[2, 4, 3, 32, 32])),
        drawn: BTreeMap::new(),
    }
}

fn info(step: usize) -> StepInfo {
    StepInfo { epoch: 1, epochs: 2, step, steps_per_epoch: 4, log: true }
}

/// Two steps; every trainable parameter gets a finite gradient in the first.
#[track_caller]
fn train(learner: &mut Learner, local: bool, what: &str) {
    for step in 4..6 {
        let outcome = learner
            .forward(&views(local), &info(step), 0)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(outcome.total.scalar().unwrap().is_finite(), "{what}");
        let gradients = learner.backward(&outcome, 1).unwrap();
        if step == 4 {
            let excused = learner.check_gradients(&gradients);
            assert!(excused.unwrap_or_else(|error| panic!("{what}: {error}")).is_empty(), "{what}");
        }
        let rates = Rates { lr: 1e-3, weight_decay: 0.04, momentum_teacher: 0.99 };
        learner.update(gradients, rates, &info(step)).unwrap();
    }
}

/// ResMLP mixes a fixed number of positions.
fn takes_local(base: &str) -> bool {
    base != "resmlp"
}

#[test]
fn every_base_trains_alone_and_with_every_head() {
    let plugins = registry(&PLUGINS);
    for base in BASES {
        train(&mut learner(base, &[], "none", &plugins), takes_local(base.0), base.0);
        for head in HEADS {
            let what = format!("{} with {head}", base.0);
            train(&mut learner(base, &[head], "hssl", &plugins), takes_local(base.0), &what);
        }
    }
}

#[test]
fn every_method_trains_on_every_base_that_can_carry_it() {
    let plugins = registry(&PLUGINS);
    let mut refused = Vec::new();
    for method in METHODS {
        for base in BASES {
            for (heads, supervision) in [(&[][..], "none"), (&["convnext"], "hssl")] {
                let what = format!("{} on {} with {heads:?}", method.0, base.0);
                match composed(method, base, heads, supervision, &plugins) {
                    Ok(mut learner) => train(&mut learner, takes_local(base.0), &what),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(error.contains("these can: "), "{what}: {error}");
                        refused.push((method.0, base.0));
                    }
                }
            }
        }
    }
    refused.dedup();
    let masks = |base: &str| matches!(base, "vit" | "swin");
    let expected = BASES.iter().map(|(base, _)| ("ibot", *base)).filter(|(_, base)| !masks(base));
    let only_vit = ["attmask", "mae", "mff"].into_iter().flat_map(|method| {
        BASES.iter().map(move |(base, _)| (method, *base)).filter(|(_, base)| *base != "vit")
    });
    assert_eq!(refused, expected.chain(only_vit).collect::<Vec<_>>());
    let error = composed(METHODS[8], BASES[3], &[], "none", &plugins).err().unwrap().to_string();
    assert_eq!(
        error,
        "objective \"mae\" needs a backbone that can encode a subset of the patches; \"resnet\" cannot; \
         these can: vit"
    );
}

#[test]
fn what_an_objective_draws_is_told_and_can_be_given() {
    let plugins = registry(&PLUGINS);
    for (method, name) in [(METHODS[1], "mask"), (METHODS[8], "kept")] {
        let mut learner = composed(method, BASES[0], &["convnext"], "hssl", &plugins).unwrap();
        let mut draw = |step: usize, given: &BTreeMap<String, Array>| {
            let views = BatchViews { drawn: given.clone(), ..views(false) };
            learner.forward(&views, &info(step), 0).map(|outcome| outcome.drawn)
        };
        let text = |drawn: &BTreeMap<String, Array>| drawn[name].to_string();
        let nothing = BTreeMap::new();
        let (first, second) = (draw(4, &nothing).unwrap(), draw(5, &nothing).unwrap());
        assert_ne!(text(&first), text(&second), "{}", method.0);
        assert_eq!(text(&draw(5, &first).unwrap()), text(&first), "{}", method.0);
        // Of another batch, it says what it expected.
        let other = first[name].narrow(1, 0, 1).unwrap();
        let error = draw(4, &BTreeMap::from([(name.to_owned(), other)])).unwrap_err().to_string();
        assert!(error.contains("expected (") && error.contains("4"), "{error}");
    }
}

#[test]
fn a_teacher_that_never_runs_takes_the_students_running_statistics() {
    let plugins = registry(&PLUGINS);
    let name = "backbone.bn1.running_mean";
    for (method, runs) in [(METHODS[3], false), (METHODS[4], true)] {
        let mut learner = composed(method, BASES[3], &[], "none", &plugins).unwrap();
        let first = values(&learner, name);
        train(&mut learner, true, method.0);
        let [student, teacher] = values(&learner, name);
        assert_ne!(student, first[0], "{}", method.0);
        assert_ne!(teacher, first[1], "{}", method.0);
        assert_eq!(teacher != student, runs, "{}", method.0);
    }
}

/// A student's parameter and the teacher's of that name.
fn values(learner: &Learner, name: &str) -> [Vec<f32>; 2] {
    let value = |store: &hssl_engine::parameters::Store| {
        store.get(name).unwrap().value().flatten_all().unwrap().to_vec1().unwrap()
    };
    [value(&learner.stores.student), value(&learner.stores.teacher)]
}

#[test]
fn every_head_is_a_candidate_beside_all_others() {
    let plugins = registry(&PLUGINS);
    let mut searching = learner(BASES[0], &HEADS, "search", &plugins);
    assert_eq!(searching.edges.len(), 2 * HEADS.len());
    train(&mut searching, true, "a search");
    let images = hssl_tensor::Tensor::constant(views(false).global.get(0).unwrap());
    let logits =
        searching.logits(hssl_plugin_api::component::Role::Teacher, &images, &info(8)).unwrap();
    assert_eq!(logits.len(), 2 * HEADS.len(), "a projection of base and head for each pair");
    // All of them joined (equation 10).
    train(&mut learner(BASES[0], &HEADS, "hssl", &plugins), false, "all heads joined");
}

#[test]
fn a_head_of_a_fixed_grid_sits_out_other_crops() {
    let plugins = registry(&PLUGINS);
    let mut with_head = learner(BASES[0], &["resmlp"], "hssl", &plugins);
    let global = views(true);
    let alone = BatchViews { local: None, ..global.clone() };
    let part = |learner: &mut Learner, views: &BatchViews, name: &str| {
        learner.forward(views, &info(4), 0).unwrap().parts[name].scalar().unwrap()
    };
    // The head's own term has no local crops in it; the base's has.
    let own = "resmlp->resmlp";
    assert_eq!(part(&mut with_head, &global, own), part(&mut with_head, &alone, own));
    let base = "resmlp->base";
    assert_ne!(part(&mut with_head, &global, base), part(&mut with_head, &alone, base));

    // A base of a fixed grid takes no local crops at all, and says so.
    let mut fixed = learner(BASES[4], &[], "none", &plugins);
    let error = fixed.forward(&global, &info(4), 0).unwrap_err().to_string();
    assert!(error.contains("resmlp") && error.contains("32"), "{error}");
}

/// DINO on the ViT with these heads and this graph.
fn on_vit(heads_and_graph: &str, plugins: &Registry) -> Result<Learner, hssl_engine::Error> {
    on(BASES[0], heads_and_graph, plugins)
}

fn on(
    (base, options): (&str, &str),
    heads_and_graph: &str,
    plugins: &Registry,
) -> Result<Learner, hssl_engine::Error> {
    let (method, method_options) = METHODS[0];
    let text = format!(
        "[backbone]\nplugin = \"{base}\"\n{options}
         [objective]\nplugin = \"{method}\"\n{method_options}
         {heads_and_graph}
         [data]\ntrain = \"generated:shapes?n=8&size=64\"
         [views]\nglobal_crops_size = 64\nlocal_crops_number = 2\nlocal_crops_size = 32
         [train]\nepochs = 2\nbatch_size = 4\ndrop_path = 0.1"
    );
    Learner::build(&configuration(&text, &[], plugins), plugins, &Device::Cpu)
}

fn beside((head, options): (&str, &str), connection: &str) -> String {
    format!("[heads.aux]\nplugin = \"{head}\"\nconnection = \"{connection}\"\n{options}")
}

#[test]
fn every_backbone_is_a_head_beside_the_base() {
    let plugins = registry(&PLUGINS);
    for head in BASES {
        let mut learner = on_vit(&beside(head, "parallel"), &plugins).unwrap();
        train(&mut learner, true, &format!("{} beside the base", head.0));
        let names = |store: &hssl_engine::parameters::Store| -> Vec<String> {
            store.iter().map(|parameter| parameter.name().to_owned()).collect()
        };
        let student = names(&learner.stores.student);
        let of_head = student.iter().filter(|name| name.starts_with("heads.aux."));
        let alone = on(head, "[hssl]\nsupervision = \"none\"", &plugins).unwrap();
        let alone = names(&alone.stores.student);
        let of_base = alone.iter().filter_map(|name| name.strip_prefix("backbone."));
        let expected: Vec<String> = of_base.map(|name| format!("heads.aux.{name}")).collect();
        assert!(!expected.is_empty() && of_head.eq(expected.iter()), "{}: {student:?}", head.0);
        assert!(expected.iter().all(|name| names(&learner.stores.teacher).contains(name)));
    }
}

#[test]
fn a_head_beside_the_base_sees_local_crops_unless_told_otherwise() {
    let plugins = registry(&PLUGINS);
    let global = views(true);
    let alone = BatchViews { local: None, ..global.clone() };
    // ResMLP takes images of one size.
    for (head, connection, sees) in [
        (BASES[2], "parallel", true),
        (BASES[2], "parallel_global", false),
        (BASES[4], "parallel", false),
    ] {
        let mut learner = on_vit(&beside(head, connection), &plugins).unwrap();
        let mut part = |views: &BatchViews| {
            learner.forward(views, &info(4), 0).unwrap().parts["aux->aux"].scalar().unwrap()
        };
        assert_eq!(part(&global) != part(&alone), sees, "{} {connection}", head.0);
    }
    let other = (BASES[4].0, "patch_size = 16\nimg_size = 32\nembed_dim = 32\ndepth = 1");
    let error = on_vit(&beside(other, "parallel"), &plugins).err().unwrap().to_string();
    assert!(error.contains("images of 32") && error.contains("[heads.aux]"), "{error}");
}

#[test]
fn a_teachers_base_that_does_not_run_takes_the_students_running_statistics() {
    let plugins = registry(&PLUGINS);
    // The only target is the head beside the base, which has statistics as well.
    let mut learner = on(BASES[3], &beside(BASES[3], "parallel"), &plugins).unwrap();
    train(&mut learner, true, "a ResNet beside a ResNet");
    let [student, teacher] = values(&learner, "backbone.bn1.running_mean");
    assert_eq!(student, teacher);
    let [student, teacher] = values(&learner, "heads.aux.bn1.running_mean");
    assert_ne!(student, teacher);
}

/// MAE hides patches: what has none, or sees those that are hidden, is refused before the first step.
#[test]
fn reconstruction_takes_heads_beside_the_base_as_teachers_alone() {
    let plugins = registry(&PLUGINS);
    let mae = |head: &str, edges: &str| {
        let (method, options) = METHODS[8];
        let text = format!(
            "[backbone]\nplugin = \"vit\"\n{}\n{head}
             [objective]\nplugin = \"{method}\"\n{options}
             [hssl]\n{edges}
             [data]\ntrain = \"generated:shapes?n=8&size=64\"
             [views]\nglobal_crops_size = 64
             [train]\nepochs = 2\nbatch_size = 4",
            BASES[0].1
        );
        Learner::build(&configuration(&text, &[], &plugins), &plugins, &Device::Cpu)
    };
    let refused = |head: &str, edges: &str| mae(head, edges).err().unwrap().to_string();
    let graph = |teacher: &str, student: &str| {
        format!(
            "supervision = \"edges\"\nedges = [{{ teacher = \"{teacher}\", student = \"{student}\" }}]"
        )
    };
    let same_grid = beside(BASES[0], "parallel");
    let mut learner = mae(&same_grid, &graph("aux", "base")).unwrap();
    train(&mut learner, false, "MAE with a teacher beside the base");
    let both = "supervision = \"edges\"\nedges = [{ teacher = \"aux\", student = \"base\" }, \
                { teacher = \"aux\", student = \"aux\" }]";
    for edges in [both, "supervision = \"hssl\""] {
        let error = refused(&same_grid, edges);
        assert!(error.contains("\"aux\" is a network beside the base"), "{error}");
    }
    let other_grid =
        ("vit", "patch_size = 8\nimg_size = 64\nembed_dim = 32\ndepth = 1\nnum_heads = 2");
    let error = refused(&beside(other_grid, "parallel"), &graph("aux", "base"));
    assert!(error.contains("\"aux\" does not have"), "{error}");
    let error = refused("", &graph("base.layers.0", "base"));
    assert!(error.contains("\"base.layers.0\" does not have"), "{error}");
}

/// The base's own output supervises it, and its layer `index` (Table 21).
fn deep_to_shallow(index: usize) -> String {
    format!(
        "[hssl]\nsupervision = \"edges\"\nedges = [
             {{ teacher = \"base\", student = \"base\" }},
             {{ teacher = \"base\", student = \"base.layers.{index}\" }},
         ]"
    )
}

#[test]
fn every_bases_layers_are_branches() {
    let plugins = registry(&PLUGINS);
    for base in BASES {
        // Of the pyramids, the last block of the third stage, and of the others the first of two.
        let index = if ["vit", "resmlp"].contains(&base.0) {
            0
        } else if base.0 == "resnet" {
            2
        } else {
            3
        };
        let what = format!("layer {index} of {}", base.0);
        let mut learner = on(base, &deep_to_shallow(index), &plugins)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        train(&mut learner, takes_local(base.0), &what);
        let outcome = learner.forward(&views(takes_local(base.0)), &info(8), 0).unwrap();
        let scalar = |name: &str| outcome.parts[name].scalar().unwrap();
        let shallow = scalar(&format!("base->base.layers.{index}"));
        let mean = (scalar("base->base") + shallow) / 2.0;
        assert!((outcome.total.scalar().unwrap() - mean).abs() < 1e-5, "{what}");
    }
}

#[test]
fn a_shallow_layer_has_a_norm_and_projection_of_its_own_and_trains_no_deeper_block() {
    let plugins = registry(&PLUGINS);
    let only = "[hssl]\nsupervision = \"edges\"\nedges = [{ teacher = \"base\", student = \"base.layers.0\" }]";
    let mut learner = on_vit(only, &plugins).unwrap();
    let outcome = learner.forward(&views(true), &info(4), 0).unwrap();
    let gradients = learner.backward(&outcome, 1).unwrap();
    let reached = |name: &str| {
        let parameter = learner.stores.student.get(name).unwrap_or_else(|| panic!("no {name}"));
        gradients.get(parameter).is_some()
    };
    assert!(reached("base.layers.0.norm.weight") && reached("backbone.blocks.0.mlp.fc2.weight"));
    assert!(!reached("backbone.blocks.1.mlp.fc2.weight") && !reached("backbone.norm.weight"));
    let excused = learner.check_gradients(&gradients).unwrap();
    assert!(excused.iter().all(|name| name.starts_with("backbone.")), "{excused:?}");

    let error = on_vit(&deep_to_shallow(2), &plugins).err().unwrap().to_string();
    assert!(error.contains("\"base.layers.2\"") && error.contains("2 blocks"), "{error}");
}

#[test]
fn every_base_and_head_keeps_the_interfaces_promises() {
    let plugins = registry(&PLUGINS);
    let check = |kind: Kind, name: &str, options: &str| {
        let options: toml::Table = options.parse().unwrap();
        let options = serde_json::to_value(options).unwrap();
        let checks = conformance(&plugins, kind, name, options.as_object().unwrap())
            .unwrap_or_else(|error| panic!("{error}"));
        let broken: Vec<_> =
            checks.iter().filter(|check| matches!(check.outcome, Outcome::Broken(_))).collect();
        assert!(broken.is_empty(), "{kind} {name}: {broken:#?}");
    };
    BASES.iter().for_each(|(name, options)| check(Kind::Backbone, name, options));
    HEADS.iter().for_each(|name| check(Kind::Head, name, "depth = 2"));
}
