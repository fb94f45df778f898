//! The real sets, where they are: in `HSSL_DATA`, or in `../shared/data` beside the checkout.

use std::path::PathBuf;
use std::sync::Arc;

use hssl_datasets::{EvalTransform, Loader, LoaderOptions, Roots, known, open};

fn data_root() -> Option<PathBuf> {
    let named = std::env::var_os("HSSL_DATA").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    [named, Some(beside)].into_iter().flatten().find(|path| path.is_dir())
}

/// Split, images, classes, images decoded as a check.
fn check(spec: &str, images: usize, classes: usize) {
    let roots = Roots { data_root: data_root(), relative_to: PathBuf::new() };
    let dataset = match open(spec, &roots) {
        Ok(dataset) => dataset,
        Err(reason) => {
            println!("skipped {spec}: {reason}");
            return;
        }
    };
    assert_eq!((dataset.len(), dataset.classes().len()), (images, classes), "{spec}");
    assert_eq!(dataset.fingerprint(), open(spec, &roots).unwrap().fingerprint());
    let step = (images / 50).max(1);
    for index in (0..images).step_by(step) {
        let sample = dataset.load(index).unwrap();
        assert_eq!(sample.label, dataset.label(index), "{}", dataset.name(index));
        assert!(sample.image.width >= 32 && sample.image.height >= 32);
        if let Some(mask) = &sample.mask {
            assert!(mask.data.iter().all(|class| usize::from(*class) < classes));
        }
        for found in &sample.boxes {
            assert!(found.x + found.width <= sample.image.width as f32 + 1.0);
            assert!(found.y + found.height <= sample.image.height as f32 + 1.0);
            assert!(found.class < classes);
        }
    }
    let transform = EvalTransform { resize: 32, crop: 32, ..EvalTransform::default() };
    let mut loader =
        Loader::start(dataset, Arc::new(transform), LoaderOptions::evaluation(8)).unwrap();
    let batch = loader.next().unwrap().unwrap();
    let pixels = batch.groups[0].floats();
    let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
    assert!(mean.abs() < 1.5, "{spec}: normalised mean {mean}");
}

#[test]
fn cifar10_jpeg() {
    check("cifar10-jpeg#train", 50_000, 10);
    check("cifar10-jpeg#val", 10_000, 10);
    check("cifar10-jpeg#train@0.1", 5_000, 10);
}

#[test]
fn cifar_binary() {
    check("cifar10-mini#train", 5_000, 10);
    check("cifar10-mini#test", 1_000, 10);
    check("cifar100-mini#train", 486, 100);
    check("cifar100-mini#test", 600, 100);
}

#[test]
fn imagenette() {
    check("imagenette-160#train", 3_880, 10);
    check("imagenette-160#val", 800, 10);
}

#[test]
fn camvid_has_masks() {
    check("camvid#train", 265, 12);
    check("camvid#val", 101, 12);
}

#[test]
fn coco_has_boxes() {
    check("coco-mini#train", 80, 80);
    check("coco-mini#val", 64, 80);
}

#[test]
fn known_sets_have_distinct_names() {
    let mut names: Vec<_> = known().iter().map(|set| set.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
