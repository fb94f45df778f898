//! Training runs from end to end: what a user would notice when one stops, resumes or goes wrong.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hssl_engine::checkpoint;
use hssl_engine::events::{Event, Observer, Unobserved};
use hssl_engine::train::Ending;
use support::{Run, weights_equal};

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
