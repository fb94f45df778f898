//! What a run tells its observer, and how the observer stops it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run begins or goes on.
    Started {
        /// Its folder.
        folder: PathBuf,
        /// One line: components, data, device, precision.
        summary: String,
        /// Optimizer steps in all.
        steps: usize,
        /// Optimizer steps that were done before.
        done: usize,
    },
    /// An optimizer step is done.
    Step {
        /// Epoch, from 0.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Steps done in all.
        step: usize,
        /// Distinct images per second, over the last few steps.
        images_per_s: f64,
        /// Share of the time spent waiting for data, 0 to 1.
        wait: f64,
        /// Loss and its terms, where this step was logged.
        metrics: Option<BTreeMap<String, f64>>,
    },
    /// An evaluation during training is done.
    Evaluated {
        /// Epoch, from 0.
        epoch: usize,
        /// Its numbers.
        metrics: BTreeMap<String, f64>,
    },
    /// A checkpoint is on the disk.
    Saved {
        /// Its folder.
        folder: PathBuf,
    },
    /// Something long inside an evaluation goes on.
    Progress {
        /// What.
        text: String,
        /// How much is done.
        done: usize,
        /// How much there is.
        total: usize,
    },
    /// Something to act on.
    Warning(String),
}

/// Watches a run.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn event(&self, event: &Event);

    /// Whether the user wants the run stopped.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _: &Event) {}
}
