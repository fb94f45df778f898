//! Layers, origins and messages, as a user meets them.

use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};

use hssl_plugin_api::component::{ComponentManifest, Kind};
use serde_json::{Value, json};

use super::*;

/// Two backbones, a head, an objective with a recipe, an evaluator.
struct Plugins;

impl Plugins {
    fn all() -> Vec<ComponentManifest> {
        let options = |properties: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties });
        let component = |kind, name: &str, config: Value, recipe: Value| ComponentManifest {
            description: format!("the {name} {kind}"),
            name: name.into(),
            kind,
            config,
            recipe,
            ..serde_json::from_value(json!({
                "kind": kind, "name": name, "description": "", "config": {}
            }))
            .unwrap()
        };
        let size = json!({ "type": "integer", "minimum": 1, "default": 16 });
        vec![
            component(
                Kind::Backbone,
                "vit",
                json!({
                    "type": "object", "additionalProperties": false,
                    "properties": {
                        "patch_size": size,
                        "arch": { "$ref": "#/$defs/Arch" },
                        "mlp_ratio": { "type": "number", "default": 4.0 },
                        "depth": { "type": ["integer", "null"], "default": null },
                    },
                    "$defs": { "Arch": { "oneOf": [
                        { "const": "vit_tiny", "type": "string" },
                        { "const": "vit_small", "type": "string" },
                    ] } },
                }),
                Value::Null,
            ),
            component(Kind::Backbone, "resnet", options(json!({ "layers": size })), Value::Null),
            component(
                Kind::Head,
                "convnext",
                options(json!({
                    "depth": { "type": "integer", "maximum": 24 },
                    "kernel_size": { "type": "integer", "not": { "multipleOf": 2 } },
                })),
                Value::Null,
            ),
            component(
                Kind::Objective,
                "dino",
                options(
                    json!({ "out_dim": size, "student_temp": { "type": "number", "exclusiveMinimum": 0 } }),
                ),
                json!({
                    "train": { "lr": 0.002, "clip_grad": 1.0, "warmup_epochs": 5 },
                    "with_heads": { "train": { "momentum_teacher": 0.5 } },
                }),
            ),
            component(Kind::Evaluator, "knn", options(json!({})), Value::Null),
            component(Kind::Evaluator, "linear", options(json!({})), Value::Null),
        ]
    }
}

impl Recipes for Plugins {
    fn recipe(&self, objective: &str) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        let found = Self::all().into_iter().find(|c| c.name == objective);
        found.map(|component| component.recipe).ok_or_else(|| "no such objective".into())
    }

    fn schema(&self, kind: Kind, name: &str) -> Result<Value, Box<dyn StdError + Send + Sync>> {
        let found = Self::all().into_iter().find(|c| c.kind == kind && c.name == name);
        let missing = || format!("there is no {kind} `{name}`").into();
        found.map(|component| component.config).ok_or_else(missing)
    }
}

const SMALL: &str = r#"
backbone = { plugin = "vit", patch_size = 4 }
objective.plugin = "dino"
data.train = "generated:shapes"

[heads.aux]
plugin = "convnext"
depth = 2
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, sets: &[&str]) -> super::Result<Resolved> {
        self.load_with(sets, &[])
    }

    fn load_with(&self, sets: &[&str], variables: &[(&str, &str)]) -> super::Result<Resolved> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let path = self.path("run.toml");
        let sources = Sources { base: Base::File(&path), suite: None, sets: &sets };
        resolve::resolve_with(&sources, variables, &Plugins)
    }
}

/// What is said of a file, a line for each problem.
fn complaint(text: &str, sets: &[&str]) -> String {
    let folder = Folder::with(&[("run.toml", text)]);
    let error = folder.load(sets).expect_err("the configuration is wrong").to_string();
    error.replace(&format!("{}/", folder.0.path().display()), "")
}

#[track_caller]
fn assert_says(complaint: &str, words: &[&str]) {
    for word in words {
        assert!(complaint.contains(word), "{word:?} is missing in:\n{complaint}");
    }
}

#[test]
fn each_layer_wins_over_those_below_and_is_named_as_the_origin() {
    let folder = Folder::with(&[
        ("base/a.toml", "[train]\nclip_grad = 2.0\nmin_lr = 2.0\nweight_decay = 2.0\nseed = 2"),
        (
            "run.toml",
            &format!(
                "extends = \"base/a.toml\"\n{SMALL}\n[train]\nmin_lr = 3.0\nweight_decay = 3.0\nseed = 3"
            ),
        ),
    ]);
    let variables =
        [("HSSL_TRAIN__WEIGHT_DECAY", "4.0"), ("HSSL_TRAIN__SEED", "4"), ("HSSL_DATA", "/data")];
    let resolved = folder.load_with(&["train.seed=5"], &variables).unwrap();
    let train = &resolved.config.train;
    let (base, run) = (folder.path("base/a.toml"), folder.path("run.toml"));
    assert_eq!(train.beta2, 0.999);
    assert_eq!(resolved.origin("train.beta2"), Some(&Origin::Default));
    assert_eq!(train.lr, 0.002);
    assert_eq!(resolved.origin("train.lr"), Some(&Origin::Recipe("dino".into())));
    assert_eq!(train.clip_grad, 2.0);
    assert_eq!(resolved.origin("train.clip_grad"), Some(&Origin::File { path: base, line: 2 }));
    assert_eq!(train.min_lr, 3.0);
    assert_eq!(resolved.origin("train.min_lr"), Some(&Origin::File { path: run, line: 12 }));
    assert_eq!(train.weight_decay, 4.0);
    let variable = Origin::Environment("HSSL_TRAIN__WEIGHT_DECAY".into());
    assert_eq!(resolved.origin("train.weight_decay"), Some(&variable));
    assert_eq!(train.seed, 5);
    assert_eq!(resolved.origin("train.seed"), Some(&Origin::Set));
    assert_eq!(resolved.value("backbone.mlp_ratio"), Some(&json!(4.0)));
    assert_eq!(resolved.origin("backbone.mlp_ratio"), Some(&Origin::Component("vit".into())));
}

#[test]
fn entries_cover_every_value_and_start_with_the_backbones_name() {
    let resolved = Folder::with(&[("run.toml", SMALL)]).load(&[]).unwrap();
    let keys: Vec<String> = resolved.entries().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys[0], "backbone.plugin");
    for key in ["heads.aux.depth", "hssl.supervision", "views.blur.sigma", "eval.crop"] {
        assert!(keys.iter().any(|known| known == key), "{key} is missing in {keys:?}");
    }
}

#[test]
fn set_adds_a_key_to_a_head_and_an_empty_table_removes_all_heads() {
    let folder = Folder::with(&[("run.toml", SMALL)]);
    let resolved = folder.load(&["heads.aux.depth=1"]).unwrap();
    assert_eq!(resolved.config.heads["aux"].options["depth"], 1);
    let resolved = folder.load(&["heads={}", "hssl.supervision=none"]).unwrap();
    assert!(resolved.config.heads.is_empty());
    let sets = ["heads={}", "heads.other.plugin=convnext"];
    let resolved = folder.load(&sets).unwrap();
    assert_eq!(resolved.config.heads.keys().collect::<Vec<_>>(), ["other"]);
    let resolved = folder.load(&["eval.evaluators={}"]).unwrap();
    assert!(resolved.config.eval.evaluators.is_empty());
}

#[test]
fn an_empty_section_header_changes_nothing() {
    let text = format!("{SMALL}\n[train]\n# lr = 1\n");
    assert_eq!(Folder::with(&[("run.toml", &text)]).load(&[]).unwrap().config.train.lr, 0.002);
}

#[test]
fn another_plugin_drops_the_options_of_the_former() {
    let folder = Folder::with(&[("run.toml", SMALL)]);
    let resolved = folder.load(&["backbone.plugin=resnet", "backbone.layers=50"]).unwrap();
    let options = serde_json::to_string(&resolved.config.backbone.options).unwrap();
    assert_eq!(options, r#"{"layers":50}"#);
}

#[test]
fn a_head_beside_the_base_is_a_backbone_with_its_options() {
    let beside = "heads.aux = { plugin = \"resnet\", connection = \"parallel\", layers = 50 }\n";
    let text = SMALL.split("[heads.aux]").next().unwrap().to_owned() + beside;
    let folder = Folder::with(&[("run.toml", &text.replace("[heads", "\n[heads"))]);
    let head = &folder.load(&[]).unwrap().config.heads["aux"];
    assert_eq!((head.connection, &head.options["layers"]), (Connection::Parallel, &json!(50)));
    let global = folder.load(&["heads.aux.connection=parallel_global"]).unwrap();
    assert_eq!(global.config.heads["aux"].options["layers"], 50);

    // On the base's map it would be another component: no option of the backbone is left.
    let error = folder.load(&["heads.aux.connection=serial"]).unwrap_err().to_string();
    assert_says(&error, &["heads.aux.plugin", "no head `resnet`"]);
    let error = folder.load(&["heads.aux.connection=serail"]).unwrap_err().to_string();
    assert_says(&error, &["heads.aux.connection", "serial"]);
    let serial = ["heads.aux.plugin=convnext", "heads.aux.depth=2"];
    let resolved = folder.load(&serial).unwrap();
    assert_eq!(resolved.config.heads["aux"].connection, Connection::Serial);
    assert_eq!(resolved.value("heads.aux.layers"), None);
}

#[test]
fn extends_takes_a_list_whose_later_files_win() {
    let folder = Folder::with(&[
        ("a.toml", "train = { seed = 1, lr = 1.0 }"),
        ("b.toml", "train.seed = 2"),
        ("run.toml", &format!("extends = [\"a.toml\", \"b.toml\"]\n{SMALL}")),
    ]);
    let train = folder.load(&[]).unwrap().config.train;
    assert_eq!((train.seed, train.lr), (2, 1.0));
}

#[test]
fn a_missing_file_and_a_circle_show_the_chain() {
    let folder = Folder::with(&[
        ("run.toml", "extends = \"sub/b.toml\""),
        ("sub/b.toml", "extends = \"c.toml\""),
    ]);
    let error = folder.load(&[]).unwrap_err().to_string();
    assert_says(&error, &["run.toml -> ", "sub/b.toml -> ", "sub/c.toml", "does not exist"]);
    fs::write(folder.path("sub/c.toml"), "extends = \"../run.toml\"").unwrap();
    let error = folder.load(&[]).unwrap_err().to_string();
    assert_says(&error, &["circle", "run.toml -> ", "sub/c.toml -> ", "sub/../run.toml"]);
}

#[test]
fn every_problem_is_told_at_once_with_file_line_and_fix() {
    let text = r#"
lr = 1.0
[backbone]
plugin = "vit"
patchsize = 4
arch = "vit_smal"
[objective]
plugin = "dino"
student_temp = 0
[data]
train = 5
[train]
momentum_techer = 0.99
epochs = 10.5
precision = "bf61"
batch_size = -4
[heads.aux]
plugin = "conv"
[views]
global_crops_scale = [0.4]
"#;
    assert_says(
        &complaint(text, &["train.seed=soon", "hssl.shared=1"]),
        &[
            "run.toml:2: `lr`: unknown key; did you mean `train.lr`?",
            "run.toml:5: `backbone.patchsize`: unknown key; did you mean `backbone.patch_size`?",
            "run.toml:6: `backbone.arch`: is the text \"vit_smal\"; expected one of \"vit_tiny\", \
             \"vit_small\"; did you mean \"vit_small\"?",
            "run.toml:9: `objective.student_temp`: is 0; expected more than 0",
            "run.toml:11: `data.train`: is 5; expected a text in quotes",
            "run.toml:13: `train.momentum_techer`: unknown key; did you mean \
             `train.momentum_teacher`?",
            "run.toml:14: `train.epochs`: is 10.5; expected a whole number, 0 or more",
            "run.toml:15: `train.precision`: is the text \"bf61\"; expected one of \"f32\", \
             \"bf16\"; did you mean \"bf16\"?",
            "run.toml:16: `train.batch_size`: is -4; expected 0 or more",
            "run.toml:18: `heads.aux.plugin`: there is no head `conv`",
            "run.toml:20: `views.global_crops_scale`: is a list of 1; expected 2 values",
            "--set: `train.seed`: is the text \"soon\"; expected a whole number, 0 or more",
            "--set: `hssl.shared`: unknown key; did you mean `hssl.share",
        ],
    );
}

#[test]
fn missing_sections_are_named_with_what_they_are_for() {
    assert_says(
        &complaint("", &[]),
        &["`backbone`: is missing", "`objective`: is missing", "`data.train`: is missing", "SPEC"],
    );
}

#[test]
fn rules_of_a_schema_beyond_the_walk_are_kept() {
    let text = format!("{SMALL}kernel_size = 6");
    assert_says(&complaint(&text, &[]), &["run.toml:9: `heads.aux.kernel_size`", "multipleOf"]);
}

#[test]
fn values_that_cannot_work_together_are_told_with_the_fix() {
    for (sets, words) in [
        (&["heads={}"][..], &["`hssl.supervision`", "needs an auxiliary head", "[heads.aux]"][..]),
        (&["hssl.edges=[{teacher='base',student='base'}]"], &["`hssl.edges`", "\"edges\""]),
        (&["hssl.supervision=edges"], &["`hssl.edges`", "is empty", "teacher = \"base\""]),
        (
            &["hssl.supervision=edges", "hssl.edges=[{teacher='axu',student='base'}]"],
            &["`hssl.edges[0].teacher`", "no branch \"axu\"", "did you mean \"aux\"?"],
        ),
        (&["hssl.edges=[{teacher='base'}]"], &["`hssl.edges[0].student`", "missing"]),
        (&["train.momentum_teacher=1.5"], &["is 1.5", "from 0 to 1"]),
        (&["train.epochs=0"], &["`train.epochs`", "at least 1"]),
        (&["train.batch_size=0"], &["`train.batch_size`", "at least 1"]),
        (
            &["train.epochs=3", "train.warmup_epochs=4"],
            &["`train.warmup_epochs`", "more than train.epochs = 3"],
        ),
        (
            &["views.local_crops_number=2", "views.local_crops_size=0"],
            &["`views.local_crops_size`", "above 0"],
        ),
        (&["views.global_crops_size=30"], &["multiple", "patch_size = 4", "28 or 32"]),
        (&["views.local_crops_scale=[0.5, 0.1]"], &["`views.local_crops_scale`", "smallest"]),
        (&["train.device=gpu"], &["\"gpu\"", "\"cuda\""]),
        (&["heads.base.plugin=convnext"], &["`heads.base`", "another branch"]),
    ] {
        assert_says(&complaint(SMALL, sets), words);
    }
}

#[test]
fn a_warm_up_below_the_asked_epochs_is_shortened_and_told() {
    let resolved = Folder::with(&[("run.toml", SMALL)]).load(&["train.epochs=2"]).unwrap();
    assert_eq!(resolved.config.train.warmup_epochs, 2);
    assert_says(&resolved.warnings[0].to_string(), &["warmup_epochs", "from 5 to 2"]);
}

#[test]
fn heads_that_nothing_uses_are_a_warning() {
    let resolved = Folder::with(&[("run.toml", SMALL)]).load(&["hssl.supervision=none"]).unwrap();
    let told: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
    assert_says(&told.join("\n"), &["--set: `hssl.supervision`", "(aux) are not built"]);
}

#[test]
fn relative_paths_start_at_the_file_that_says_them() {
    let folder = Folder::with(&[
        ("base/data.toml", "data.train = \"imagefolder:photos#train\"\ndata.root = \"sets\""),
        (
            "run.toml",
            "extends = \"base/data.toml\"\nout = \"runs/a\"\nbackbone.plugin = \"vit\"\n\
             objective.plugin = \"dino\"\nhssl.supervision = \"none\"\n\
             data.eval_test = \"generated:shapes#val\"\ndata.eval_train = \"/abs:olute\"",
        ),
    ]);
    let config = folder.load(&[]).unwrap().config;
    let home = folder.0.path().canonicalize().unwrap();
    let path = |below: &str| home.join(below).display().to_string();
    assert_eq!(config.data.train, format!("imagefolder:{}", path("base/photos#train")));
    assert_eq!(config.data.root, Some(home.join("base/sets")));
    assert_eq!(config.out, Some(home.join("runs/a")));
    assert_eq!(config.data.eval_test.as_deref(), Some("generated:shapes#val"));
    let sets = ["data.train=tar:here.tar"];
    let here = std::env::current_dir().unwrap().join("here.tar");
    let train = folder.load(&sets).unwrap().config.data.train;
    assert_eq!(train, format!("tar:{}", here.display()));
}

#[test]
fn a_runs_own_configuration_reads_back_as_it_was() {
    let folder = Folder::with(&[("run.toml", SMALL)]);
    let sets = ["train.clip_grad=0.25", "eval.evaluators={}", "train.epochs=2"];
    let first = folder.load(&sets).unwrap();
    let text = first.to_toml().unwrap();
    let again = from_toml(&text, Path::new("/runs/one"), &[], &Plugins).unwrap();
    assert_eq!(again.to_toml().unwrap(), text);
    assert_eq!(
        serde_json::to_value(&again.config).unwrap(),
        serde_json::to_value(&first.config).unwrap()
    );
    // A key that is newer than the run.
    let older: String = text
        .lines()
        .filter(|line| !line.starts_with("beta2"))
        .fold(String::new(), |text, line| text + line + "\n");
    let again = from_toml(&older, Path::new("/runs/one"), &[], &Plugins).unwrap();
    assert_eq!(again.config.train.beta2, 0.999);
    assert_eq!(again.config.train.clip_grad, 0.25);
}

#[test]
fn a_suite_replaces_the_evaluations_and_is_checked() {
    let folder = Folder::with(&[("run.toml", SMALL), ("suite.toml", "[near]\nplugin = \"knn\"")]);
    let (path, suite) = (folder.path("run.toml"), folder.path("suite.toml"));
    let sources = Sources { base: Base::File(&path), suite: Some(&suite), sets: &[] };
    let eval = resolve::resolve_with(&sources, [], &Plugins).unwrap().config.eval;
    assert_eq!(eval.evaluators.keys().collect::<Vec<_>>(), ["near"]);
    fs::write(&suite, "[near]\nplugin = \"knn\"\nk = 5").unwrap();
    let error = resolve::resolve_with(&sources, [], &Plugins).unwrap_err().to_string();
    assert_says(&error, &["suite.toml:3: `eval.evaluators.near.k`: unknown key"]);
}

#[test]
fn the_default_views_are_the_transforms_own() {
    let values: Value = toml::from_str(include_str!("defaults.toml")).unwrap();
    let views: hssl_datasets::MultiCrop = serde_json::from_value(values["views"].clone()).unwrap();
    assert_eq!(views, hssl_datasets::MultiCrop::default());
}

#[test]
fn texts_that_are_no_assignment_or_no_toml_are_errors() {
    assert_says(&complaint(SMALL, &["train.lr"]), &["--set train.lr", "no `=`", "KEY=VALUE"]);
    assert_says(&complaint("a = [", &[]), &["run.toml is not valid TOML", "line 1"]);
    assert_says(&complaint("extends = 5", &[]), &["`extends` is 5", "file name"]);
    let folder = Folder::with(&[("run.toml", SMALL)]);
    let error = folder.load_with(&[], &[("HSSL_TRAIN__LRR", "1")]).unwrap_err().to_string();
    assert_says(&error, &["HSSL_TRAIN__LRR: `train.lrr`: unknown key; did you mean `train.lr`?"]);
}

#[test]
fn the_document_schema_accepts_a_file_and_refuses_a_wrong_option() {
    let schema = document(&Plugins::all());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut file: Value = toml::from_str(SMALL).unwrap();
    file["extends"] = json!("base.toml");
    file["backbone"]["arch"] = json!("vit_tiny");
    let errors: Vec<String> = validator.iter_errors(&file).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (pointer, value) in [
        ("/backbone/patch_size", json!("four")),
        ("/backbone/arch", json!("vit_huge")),
        ("/backbone/plugin", json!("convnext")),
        ("/heads/aux/plugin", json!("vit")),
    ] {
        let mut wrong = file.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&wrong), "{pointer} is accepted in {wrong}");
    }
    let mut wrong = file.clone();
    wrong["heads"]["aux"]["patch_size"] = json!(4);
    assert!(!validator.is_valid(&wrong), "a head takes a backbone's option");
}

#[test]
fn a_recipe_may_say_more_of_runs_with_heads() {
    let folder = Folder::with(&[("run.toml", SMALL)]);
    let momentum = |sets: &[&str]| folder.load(sets).unwrap().config.train.momentum_teacher;
    assert_eq!(momentum(&[]), 0.5);
    assert_eq!(momentum(&["hssl.supervision=none"]), 0.996);
    assert_eq!(momentum(&["train.momentum_teacher=0.9"]), 0.9);
}
