//! Loading and augmenting alone.

use std::time::Instant;

use hssl_datasets::Roots;
use hssl_tensor::Device;
use serde::Serialize;

use super::source::Source;
use super::step::Plan;
use crate::config::RunConfig;
use crate::device;
use crate::error::Result;

/// How fast batches of views come when nothing is done with them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loading {
    /// Distinct images per second, over all timed batches.
    pub images_per_s: f64,
    /// Views of an image.
    pub views: usize,
    /// Largest resident set of the process, MiB.
    pub peak_mb: f64,
    /// The same when the first half of the timed batches had come: beside `peak_mb`, whether memory
    /// still grows.
    pub peak_mb_half: f64,
    /// Threads that load.
    pub threads: usize,
    /// Images of a batch.
    pub batch_size: usize,
}

/// Takes `plan.steps` batches from the configured loader as fast as they come, after `plan.warmup`.
///
/// # Errors
/// The images cannot be opened or read.
pub fn bench_loading(config: &RunConfig, roots: &Roots, plan: Plan) -> Result<Loading> {
    let mut source = Source::new(config, roots, &Device::Cpu)?;
    for _ in 0..plan.warmup {
        source.next()?;
    }
    let steps = plan.steps.max(1);
    let mut peak_mb_half = 0.0;
    let start = Instant::now();
    for step in 0..steps {
        if step == steps / 2 {
            peak_mb_half = device::peak_mib(&Device::Cpu);
        }
        source.next()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Loading {
        images_per_s: (steps * config.train.batch_size) as f64 / seconds,
        views: config.views.global_crops_number + config.views.local_crops_number,
        peak_mb: device::peak_mib(&Device::Cpu),
        peak_mb_half,
        threads: source.threads(),
        batch_size: config.train.batch_size,
    })
}
