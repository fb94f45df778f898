//! Runs from end to end, and what is made of their weights: what a user would notice when one
//! stops, resumes or goes wrong.

mod support;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hssl_datasets::Roots;
use hssl_engine::base::{BaseModel, weights_of};
use hssl_engine::checkpoint;
use hssl_engine::component::{Report, StepInfo};
use hssl_engine::config::{ComponentConfig, Connection};
use hssl_engine::embed::{Embedding, embed};
use hssl_engine::evaluate::{EvaluationData, Evaluator};
use hssl_engine::events::{Event, Observer, Unobserved};
use hssl_engine::run::RunFolder;
use hssl_engine::train::batches;
use hssl_engine::train::{Ending, Learner, Rates};
use hssl_tensor::{Array, DType, Device, ops};
use serde_json::json;
use support::{Run, damaged_images, registry, weights_equal};

/// Cancels after so many optimizer steps.
struct StopAfter {
    steps: usize,
    seen: AtomicUsize,
}

impl StopAfter {
    fn new(steps: usize) -> Self {
        Self { steps, seen: AtomicUsize::new(0) }
    }
}

impl Observer for StopAfter {
    fn event(&self, event: &Event) {
        if let Event::Step { .. } = event {
            self.seen.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.steps
    }
}

/// Cancels as soon as an evaluation says how far it is.
#[derive(Default)]
struct StopInEvaluation(AtomicBool);

impl Observer for StopInEvaluation {
    fn event(&self, event: &Event) {
        if let Event::Progress { .. } = event {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Keeps what is warned of, and counts reports of progress.
#[derive(Default)]
struct Listener {
    warnings: Mutex<Vec<String>>,
    reports: AtomicUsize,
}

impl Observer for Listener {
    fn event(&self, event: &Event) {
        match event {
            Event::Warning(text) => self.warnings.lock().unwrap().push(text.clone()),
            Event::Progress { .. } => {
                self.reports.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

fn values(array: &Array) -> Vec<f32> {
    array.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The metrics of a run without the columns that depend on the clock.
fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let untimed = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().retain(|key, _| !key.starts_with("time/"));
        value
    };
    text.lines().map(untimed).collect()
}

#[test]
fn a_run_that_was_stopped_goes_on_bit_for_bit() {
    let whole = Run::new("drop_path = 0.2");
    assert_eq!(whole.train(false, &Unobserved).unwrap(), Ending::Finished);

    let parts = Run::new("drop_path = 0.2");
    // In the middle of the second epoch of four steps.
    let stopped = parts.train(false, &StopAfter::new(6)).unwrap();
    assert_eq!(stopped, Ending::Interrupted);
    assert!(!parts.folder().join("backbone.safetensors").exists());
    assert_eq!(parts.train(true, &Unobserved).unwrap(), Ending::Finished);

    assert_eq!(metrics(whole.folder()), metrics(parts.folder()));
    weights_equal(&whole.last(), &parts.last());
}

#[test]
fn loader_threads_change_nothing() {
    let runs = [1, 3].map(|threads| Run::with("", &format!("threads = {threads}")));
    for run in &runs {
        run.train(false, &Unobserved).unwrap();
    }
    weights_equal(&runs[0].last(), &runs[1].last());
}

#[test]
fn blocks_that_are_computed_again_train_the_same_weights() {
    let train = |line: &str| {
        let run = Run::new(&format!("drop_path = 0.2\n{line}"));
        run.train(false, &Unobserved).unwrap();
        run
    };
    let (kept, again) = (train(""), train("checkpoint_blocks = true"));
    weights_equal(&kept.last(), &again.last());
    assert_eq!(metrics(kept.folder()), metrics(again.folder()));
}

#[test]
fn accumulated_slices_draw_different_images_and_train() {
    let run = Run::new("accum_iter = 2");
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
    let steps = metrics(run.folder()).iter().filter_map(|line| line["step"].as_u64()).max();
    assert_eq!(steps, Some(4), "32 images, 8 a batch, 2 batches a step, 2 epochs");
}

#[test]
fn a_checkpoint_that_was_being_written_leaves_the_former_one() {
    let run = Run::new("");
    run.train(false, &StopAfter::new(3)).unwrap();
    let last = run.folder().join("checkpoints").join("last");
    let (before, progress) = checkpoint::read(&last, &hssl_tensor::Device::Cpu).unwrap();
    // What a killed process leaves behind: half a checkpoint under its temporary name.
    let half = last.with_file_name(".last.writing");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join(checkpoint::TENSORS), b"half a file").unwrap();
    let (after, again) = checkpoint::read(&last, &hssl_tensor::Device::Cpu).unwrap();
    assert_eq!((before.len(), progress), (after.len(), again));
    assert_eq!(run.train(true, &Unobserved).unwrap(), Ending::Finished);
    assert!(!half.exists());
}

#[test]
fn a_death_between_the_two_renames_is_survived() {
    let run = Run::new("");
    run.train(false, &StopAfter::new(3)).unwrap();
    let last = run.folder().join("checkpoints").join("last");
    std::fs::rename(&last, last.with_file_name(".last.former")).unwrap();
    assert_eq!(run.train(true, &Unobserved).unwrap(), Ending::Finished);
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let run = Run::new("");
    run.train(false, &StopAfter::new(1)).unwrap();
    let error = run.train(false, &Unobserved).unwrap_err().to_string();
    assert!(error.contains("--resume") && error.contains("--out"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_names_the_last_checkpoint() {
    let run = Run::new("lr = 1e30\nclip_grad = 0.0\nwarmup_epochs = 0\nsave_seconds = 0");
    let error = run.train(false, &Unobserved).unwrap_err().to_string();
    assert!(error.contains("train.lr"), "{error}");
}

#[test]
fn other_images_are_not_resumed_on() {
    let run = Run::new("");
    run.train(false, &StopAfter::new(1)).unwrap();
    let changed = run.on("generated:shapes?n=48&size=16#train");
    let error = changed.train(true, &Unobserved).unwrap_err().to_string();
    assert!(error.contains("training images"), "{error}");
}

#[test]
fn a_batch_larger_than_the_set_names_both() {
    let run = Run::new("batch_size = 64");
    let error = run.train(false, &Unobserved).unwrap_err().to_string();
    assert!(error.contains("64") && error.contains("32"), "{error}");
}

#[test]
fn what_a_full_disk_leaves_is_the_former_checkpoint() {
    // A folder where the file should go fails as a full disk does: while the content is written.
    let run = Run::new("");
    run.train(false, &StopAfter::new(2)).unwrap();
    let last = run.folder().join("checkpoints").join("last");
    let (tensors, progress) = checkpoint::read(&last, &hssl_tensor::Device::Cpu).unwrap();
    let broken =
        [("x".to_owned(), hssl_tensor::Array::new(&[0i16], &hssl_tensor::Device::Cpu).unwrap())];
    checkpoint::write(&last, &broken, &progress).unwrap_err();
    let (kept, _) = checkpoint::read(&last, &hssl_tensor::Device::Cpu).unwrap();
    assert_eq!(kept.len(), tensors.len());
    assert!(!last.with_file_name(".last.writing").exists(), "half a checkpoint was left");
}

#[test]
fn joined_heads_train_every_parameter() {
    let run = Run::new("").with_head("second");
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
}

#[test]
fn a_stop_in_the_evaluation_keeps_the_epoch() {
    let whole = Run::new("");
    whole.train(false, &Unobserved).unwrap();

    let parts = Run::new("");
    let stopped = parts.train(false, &StopInEvaluation::default()).unwrap();
    assert_eq!(stopped, Ending::Interrupted);
    let (_, progress) = checkpoint::read(&parts.last(), &Device::Cpu).unwrap();
    assert_eq!((progress.epoch, progress.batch, progress.step), (0, 4, 4));
    assert_eq!(parts.train(true, &Unobserved).unwrap(), Ending::Finished);

    assert_eq!(metrics(whole.folder()), metrics(parts.folder()));
    weights_equal(&whole.last(), &parts.last());
}

#[test]
fn an_evaluation_that_fails_keeps_the_epoch() {
    // More than the ten that may be unreadable.
    let (_folder, spec, _) = damaged_images(12);
    let mut run = Run::new("");
    run.config.data.eval_train = Some(spec.clone());
    run.config.data.eval_test = Some(spec);
    let error = run.train(false, &Unobserved).unwrap_err().to_string();
    assert!(error.contains("could not be read"), "{error}");
    let (_, progress) = checkpoint::read(&run.last(), &Device::Cpu).unwrap();
    assert_eq!(progress.step, 4);
}

/// What is wrong with a run's evaluation is said before a step is done or a file is written.
#[track_caller]
fn refused_before_the_first_step(run: &Run, words: &[&str]) {
    let observer = StopAfter::new(1);
    let error = run.train(false, &observer).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert_eq!(observer.seen.load(Ordering::SeqCst), 0);
    assert!(!run.folder().join("config.toml").exists());
}

#[test]
fn an_evaluation_that_cannot_be_is_refused_before_the_first_step() {
    let off = "eval.online_every = 0";
    let (_folder, spec, _) = damaged_images(0);
    let mut run = Run::new("");
    run.config.data.eval_train = Some(spec.replace("imagefolder:", "images:"));
    refused_before_the_first_step(&run, &["no labels", "data.eval_train", off]);

    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        let image = hssl_datasets::open("generated:shapes?n=1&size=16", &Roots::default()).unwrap();
        hssl_datasets::write_to(image.as_ref(), &folder.path().join(class)).unwrap();
    }
    run.config.data.eval_train = Some(format!("imagefolder:{}", folder.path().display()));
    refused_before_the_first_step(&run, &["different classes", "data.eval_test", off]);

    let mut run = Run::new("");
    run.registry = registry(&["vit", "convnext", "dino"]);
    refused_before_the_first_step(&run, &["evaluator", "knn"]);
}

#[test]
fn fewer_images_than_neighbours_are_evaluated_by_all_of_them() {
    let run = Run::with("", "eval_train = \"generated:shapes?n=8&size=16#train\"");
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
    let evaluated = metrics(run.folder());
    assert!(evaluated.iter().any(|line| line.get("online/knn_top1@8").is_some()), "{evaluated:?}");
}

#[test]
fn a_gradient_that_is_not_finite_moves_nothing() {
    let run = Run::new("");
    let mut learner = run.learner();
    let weights = |learner: &Learner| -> Vec<Vec<f32>> {
        learner.stores.student.iter().map(|parameter| values(&parameter.value())).collect()
    };
    let before = weights(&learner);
    let views = batches::synthetic(&run.config, &Device::Cpu).unwrap();
    let info = StepInfo { epoch: 1, epochs: 2, step: 5, steps_per_epoch: 4, log: false };
    let mut outcome = learner.forward(&views, &info, 0).unwrap();
    outcome.total = ops::affine(&outcome.total, f64::INFINITY, 0.0).unwrap();
    let gradients = learner.backward(&outcome, 1).unwrap();
    let rates = Rates { lr: 1e-3, weight_decay: 0.04, momentum_teacher: 0.996 };
    let error = learner.update(gradients, rates, &info).unwrap_err().to_string();
    for word in ["backbone.", "step 5", "train.lr", "train.warmup_epochs"] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert_eq!(before, weights(&learner));
}

/// Embeds a set by a run's base as it is before training.
fn embedded(
    run: &Run,
    spec: &str,
    out: &Path,
    observer: &dyn Observer,
) -> hssl_engine::Result<usize> {
    let mut base = BaseModel::build(&run.config, &run.registry, &Device::Cpu, None)?;
    let data = EvaluationData::open(&run.config, &Roots::default(), (0, 0))?;
    let embedding = Embedding {
        dataset: hssl_datasets::open(spec, &Roots::default())?,
        transform: data.plain,
        batch_size: data.batch_size,
        threads: 1,
        tokens: false,
    };
    embed(&mut base, &embedding, out, observer)
}

#[test]
fn an_image_that_cannot_be_embedded_is_named() {
    let (folder, spec, names) = damaged_images(1);
    let out = folder.path().join("features.safetensors");
    let error = embedded(&Run::new(""), &spec, &out, &Unobserved).unwrap_err().to_string();
    assert!(error.contains(&names[0]), "{error}");
    assert!(!out.exists());
}

#[test]
fn where_features_cannot_go_is_found_before_the_work() {
    let run = Run::new("");
    let spec = "generated:shapes?n=4&size=16";
    let listener = Listener::default();
    let error = embedded(&run, spec, run.folder(), &listener).unwrap_err().to_string();
    assert!(error.contains("is a folder"), "{error}");
    assert_eq!(listener.reports.load(Ordering::SeqCst), 0);

    let out = run.folder().join("new").join("features.safetensors");
    assert_eq!(embedded(&run, spec, &out, &listener).unwrap(), 4);
    let left: Vec<_> = std::fs::read_dir(out.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_file_that_cannot_be_put_in_place_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    checkpoint::replace_file(&taken, b"text").unwrap_err();
    checkpoint::write_weights(&taken, &[], None).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn images_that_an_evaluation_replaces_are_warned_of() {
    let (_folder, spec, _) = damaged_images(2);
    let mut run = Run::new("epochs = 1");
    run.config.data.eval_train = Some(spec.clone());
    run.config.data.eval_test = Some(spec);
    let listener = Listener::default();
    run.train(false, &listener).unwrap();
    let warnings = listener.warnings.into_inner().unwrap();
    let unreadable =
        |text: &&String| text.contains("unreadable images of") && text.contains(": 2;");
    assert_eq!(warnings.iter().filter(unreadable).count(), 2, "one for each split: {warnings:?}");
}

#[test]
fn a_head_beside_the_base_is_not_exported() {
    let names = |run: &Run| -> Vec<String> {
        run.train(false, &Unobserved).unwrap();
        let bytes = std::fs::read(run.folder().join("backbone.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    let plain = Run::new("").with_edges(&[("base", "base")]).without_heads();
    let mut beside = Run::new("");
    let head = beside.config.heads.get_mut("aux").unwrap();
    head.connection = Connection::Parallel;
    let options = json!({ "patch_size": 2, "dims": [8, 16], "depths": [1, 1] });
    head.options = options.as_object().unwrap().clone();
    assert_eq!(names(&beside), names(&plain));
}

#[test]
fn a_run_that_goes_on_is_not_evaluated_by_its_former_export() {
    let mut run = Run::new("");
    run.train(false, &Unobserved).unwrap();
    let folder = RunFolder::at(run.folder());
    assert_eq!(weights_of(&folder), Some(folder.backbone()));
    run.config.train.epochs = 4;
    assert_eq!(run.train(true, &StopAfter::new(1)).unwrap(), Ending::Interrupted);
    assert_eq!(weights_of(&folder), Some(run.last().join(checkpoint::TENSORS)));
    assert_eq!(run.train(true, &Unobserved).unwrap(), Ending::Finished);
    assert_eq!(weights_of(&folder), Some(folder.backbone()));
}

#[test]
fn a_head_that_is_only_a_target_stays_as_it_was_drawn() {
    let run = Run::new("").with_edges(&[("aux", "base")]);
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
    let (state, _) = checkpoint::read(&run.last(), &Device::Cpu).unwrap();
    let mut moved = 0;
    for parameter in run.learner().stores.student.iter() {
        let name = parameter.name();
        let drawn = values(&parameter.value());
        let student = values(&state[&format!("student.{name}")]);
        if !name.starts_with("heads.") {
            moved += usize::from(student != drawn);
            continue;
        }
        assert_eq!(student, drawn, "{name}");
        // The average of equal values is that value, but for rounding.
        let teacher = values(&state[&format!("teacher.{name}")]);
        let apart = teacher.iter().zip(&drawn).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{name}: the teacher's is {apart} away");
    }
    assert!(moved > 0, "the base was not trained");
}

#[test]
fn heads_that_are_joined_only_as_a_target_train() {
    let edges = [("heads", "base"), ("heads", "aux"), ("heads", "second")];
    let run = Run::new("").with_head("second").with_edges(&edges);
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
}

#[test]
fn a_base_that_no_edge_trains_directly_trains_through_the_head() {
    let run = Run::new("").with_edges(&[("aux", "aux")]);
    assert_eq!(run.train(false, &Unobserved).unwrap(), Ending::Finished);
}

/// What a linear probe of pixels finds with this many images per step.
fn probed(run: &Run, batch_size: usize) -> Report {
    let mut base = BaseModel::build(&run.config, &run.registry, &Device::Cpu, None).unwrap();
    let data = EvaluationData::open(&run.config, &Roots::default(), (0, 0)).unwrap();
    let device = (&Device::Cpu, false);
    let network = &mut base.network;
    let mut evaluator =
        Evaluator::new(network, data, &run.registry, device, &Unobserved, 0).unwrap();
    let options = json!({
        "epochs": 3,
        "batch_size": batch_size,
        "lrs": [1e-3, 1e-2, 1e-1, 1.0],
        "augment": false,
        "features": "pixels",
    });
    let options = options.as_object().cloned().unwrap();
    evaluator.run(&ComponentConfig { plugin: "linear".into(), options }).unwrap()
}

#[test]
fn a_probe_of_few_images_has_the_learning_rate_of_its_real_batch() {
    let mut run = Run::new("");
    run.config.data.eval_test = Some("generated:shapes?n=200&size=16#val".into());
    // All 32 images in one step, whatever larger batch was asked for.
    assert_eq!(probed(&run, 4096), probed(&run, 32));
}
