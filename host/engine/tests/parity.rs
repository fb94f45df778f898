//! Features and a training step, held against what timm and PyTorch computed (tests/parity/fixtures).

#[path = "support/composition.rs"]
mod composition;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use hssl_engine::base::BaseModel;
use hssl_engine::checkpoint::read_tensors;
use hssl_engine::component::{Features, Request, StepInfo};
use hssl_engine::plugin::{Registry, on_device};
use hssl_engine::train::{BatchViews, Learner, Schedules, dump};
use hssl_tensor::{Array, Device, Tensor, mode};

use composition::configuration;

/// The step that the fixture holds, and the steps in its epochs.
const STEP: usize = 6;
const STEPS_PER_EPOCH: usize = 4;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/fixtures").join(name)
}

fn registry() -> Registry {
    composition::registry(&["vit", "convnext", "dino"])
}

fn values(array: &Array) -> Vec<f32> {
    array.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the largest magnitude.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(0.0, |a: f32, b| if b.is_nan() { f32::NAN } else { a.max(b.abs()) })
    };
    let difference = largest(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    difference / largest(&mut expected.iter().copied()).max(1e-30)
}

#[track_caller]
fn assert_close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{name}: relative error {error:e}, more than {tolerance:e}");
}

/// Asserts that two steps from one point agree within 1 % of how far they go.
#[track_caller]
fn assert_moves_alike(name: &str, before: &[f32], found: &[f32], expected: &[f32]) {
    let distance =
        |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum() };
    let (apart, moved) = (distance(found, expected), distance(before, expected));
    assert!(moved > 0.0, "{name}: the fixture's step does not move it");
    assert!(apart <= 0.01 * moved, "{name}: {apart:e} apart after a step of {moved:e}");
}

/// A model that timm made, with the images of one of the fixture's sets.
fn features(img_size: usize, set: &str, precision: &str) -> (Features, HashMap<String, Array>) {
    let text = r#"
        [backbone]
        plugin = "vit"
        arch = "vit_tiny"
        embed_dim = 24
        depth = 2
        num_heads = 3
        patch_size = 4
        [objective]
        plugin = "dino"
        [hssl]
        supervision = "none"
        [data]
        train = "generated:shapes"
    "#;
    let registry = registry();
    let size = format!("backbone.img_size={img_size}");
    let precision = format!("train.precision={precision}");
    let config = configuration(text, &[&size, &precision], &registry);
    let path = fixture("vit.safetensors");
    let expected = read_tensors(&path, &Device::Cpu).unwrap();
    let mut base = BaseModel::build(&config, &registry, &Device::Cpu, Some(&path)).unwrap();
    let images = Tensor::constant(expected[&format!("{set}.images")].clone());
    let inference = mode::Mode {
        recording: false,
        training: false,
        autocast: base.autocast,
        ..mode::current()
    };
    let found = on_device(&Device::Cpu, || {
        mode::scope(inference, || base.network.forward_base(&images, &Request::default(), None))
    });
    (found.unwrap(), expected)
}

#[track_caller]
fn check_features(img_size: usize, set: &str, precision: &str, tolerance: f32) {
    let (found, expected) = features(img_size, set, precision);
    let expected = |what: &str| values(&expected[&format!("{set}.{what}")]);
    assert_close("features", &found.image.to_vec().unwrap(), &expected("features"), tolerance);
    assert_close("tokens", &found.map.to_vec().unwrap(), &expected("tokens"), tolerance);
}

#[test]
fn a_timm_vit_keeps_its_features() {
    check_features(24, "native", "f32", 1e-5);
}

#[test]
fn positions_of_another_grid_are_resized_as_timm_resizes_them() {
    check_features(16, "resized", "f32", 1e-5);
}

#[test]
fn bf16_products_stay_near_the_features() {
    check_features(24, "native", "bf16", 2e-2);
    let (found, expected) = features(24, "native", "bf16");
    let error =
        relative_error(&found.image.to_vec().unwrap(), &values(&expected["native.features"]));
    assert!(error > 1e-6, "nothing was computed in bf16");
}

#[test]
fn a_step_of_dino_with_a_head_is_pytorchs() {
    let registry = registry();
    let text = std::fs::read_to_string(fixture("dino_hssl_step.toml")).unwrap();
    let config = configuration(&text, &[], &registry);
    let given = fixture("dino_hssl_step.safetensors");
    let expected = read_tensors(&given, &Device::Cpu).unwrap();

    let mut learner = Learner::build(&config, &registry, &Device::Cpu).unwrap();
    let blank = |name: &str| expected[name].zeros_like().unwrap();
    let mut views =
        BatchViews { global: blank("input.global"), local: None, drawn: BTreeMap::new() };
    dump::load(&given, &learner, &mut views).unwrap();
    let info = StepInfo {
        epoch: STEP / STEPS_PER_EPOCH,
        epochs: config.train.epochs,
        step: STEP,
        steps_per_epoch: STEPS_PER_EPOCH,
        log: false,
    };
    let rates = Schedules::new(&config, STEPS_PER_EPOCH).at(STEP);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("step.safetensors");
    dump::step(&mut learner, &views, &info, rates, &out).unwrap();
    let found = read_tensors(&out, &Device::Cpu).unwrap();

    // Every tensor of the fixture: what went in, the losses, all gradients, and what the step moved.
    for (name, expected_value) in &expected {
        let value = found.get(name).unwrap_or_else(|| panic!("the step has no {name}"));
        assert_eq!(value.dims(), expected_value.dims(), "{name}");
        let (value, expected_value) = (values(value), values(expected_value));
        match name.split_once('.') {
            Some(("updated", before)) => {
                // AdamW's first step is nearly the sign of the gradient, which rounding may turn where
                // it is 0 in theory: the bias of attention's keys.
                if !before.ends_with("qkv.bias") {
                    assert_moves_alike(name, &values(&expected[before]), &value, &expected_value);
                }
            }
            Some(("loss", _)) => assert_close(name, &value, &expected_value, 1e-5),
            Some(("grad", _)) => assert_close(name, &value, &expected_value, 1e-4),
            _ => assert_eq!(value, expected_value, "{name} is not what was loaded"),
        }
    }
    let gradients = |of: &HashMap<String, Array>| {
        let mut names: Vec<_> =
            of.keys().filter(|name| name.starts_with("grad.")).cloned().collect();
        names.sort();
        names
    };
    assert_eq!(gradients(&found), gradients(&expected));
}
