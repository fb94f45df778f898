//! Whole training steps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hssl_datasets::Roots;
use hssl_plugin_api::component::StepInfo;
use hssl_tensor::profile::{self, Pass, Profile};
use serde::Serialize;

use super::median;
use super::source::Source;
use crate::config::{Precision, RunConfig};
use crate::device;
use crate::error::Result;
use crate::plugin::Registry;
use crate::train::{Learner, Rates, batches};

/// What a benchmark measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Distinct images per second, by the median step.
    pub images_per_s: f64,
    /// Median time of a step, milliseconds.
    pub step_ms: f64,
    /// Shortest step, milliseconds.
    pub step_ms_min: f64,
    /// Longest step, milliseconds.
    pub step_ms_max: f64,
    /// Largest resident set of the process (CPU) or device memory in use (CUDA), MiB.
    pub peak_mb: f64,
    /// `cpu` or `cuda`.
    pub device: String,
    /// `f32` or `bf16`.
    pub precision: String,
    /// Threads that compute.
    pub threads: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Where a step's time went, longest first; empty unless it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<Part>,
}

/// Time in one operation, or in one part of a step outside operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The operation's name; `update` is the optimizer's and the teacher's step, `else` the rest.
    pub name: String,
    /// Calls in a step, forward.
    pub calls: f64,
    /// Milliseconds in a step, forward.
    pub forward_ms: f64,
    /// Milliseconds in a step, backward.
    pub backward_ms: f64,
}

impl Part {
    /// Milliseconds in a step.
    pub fn ms(&self) -> f64 {
        self.forward_ms + self.backward_ms
    }
}

/// What to time.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Steps that are timed.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// Also time each operation. On CUDA this waits for each, which makes the step slower.
    pub profile: bool,
}

/// Times whole training steps after a warm-up. With `roots`, views come from the configured images
/// through the loader; without, the same random views lie on the device.
///
/// # Errors
/// The composition cannot be built or a step fails.
pub fn bench_steps(
    config: &RunConfig,
    registry: &Registry,
    plan: Plan,
    roots: Option<&Roots>,
) -> Result<Measurement> {
    let device = device::select(&config.train.device)?;
    let mut learner = Learner::build(config, registry, &device)?;
    let resident = batches::synthetic(config, &device)?;
    let mut source = roots.map(|roots| Source::new(config, roots, &device)).transpose()?;
    let rates = Rates { lr: 1e-4, weight_decay: 0.04, momentum_teacher: 0.996 };
    let steps = plan.steps.max(1);
    let mut times = Vec::with_capacity(steps);
    let mut updating = Duration::ZERO;
    for step in 0..plan.warmup + steps {
        if plan.profile && step == plan.warmup {
            profile::start();
        }
        // Past the epochs in which the last layer stands still.
        let epoch = config.train.freeze_last_layer;
        let info = StepInfo { epoch, epochs: epoch + 1, step, steps_per_epoch: 1, log: false };
        let start = Instant::now();
        let views = match &mut source {
            Some(source) => batches::views(source.next()?, &device)?,
            None => resident.clone(),
        };
        let outcome = learner.forward(&views, &info, 0)?;
        let gradients = learner.backward(&outcome, 1)?;
        let update = Instant::now();
        learner.update(gradients, rates, &info)?;
        drop(outcome);
        device.synchronize().map_err(hssl_tensor::Error::from)?;
        if step >= plan.warmup {
            updating += update.elapsed();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let profile = match plan.profile {
        true => parts(&profile::stop(), updating, &times),
        false => Vec::new(),
    };
    let step_ms = median(&mut times);
    Ok(Measurement {
        images_per_s: config.train.batch_size as f64 * 1e3 / step_ms,
        step_ms,
        step_ms_min: times[0],
        step_ms_max: times[times.len() - 1],
        peak_mb: device::peak_mib(&device),
        device: device::name(&device).into(),
        precision: match config.train.precision {
            Precision::F32 => "f32".into(),
            Precision::Bf16 => "bf16".into(),
        },
        threads: rayon::current_num_threads(),
        batch_size: config.train.batch_size,
        profile,
    })
}

/// Shares of the mean step. The few operations of the objective's own update count twice: among the
/// operations and in `update`, which `else` makes up for.
fn parts(profile: &Profile, updating: Duration, times: &[f64]) -> Vec<Part> {
    let steps = times.len() as f64;
    let ms = |time: Duration| time.as_secs_f64() * 1e3 / steps;
    let mut by_name: BTreeMap<&str, Part> = BTreeMap::new();
    for ((name, pass), spent) in profile {
        let part = by_name.entry(name).or_insert_with(|| Part {
            name: (*name).into(),
            calls: 0.0,
            forward_ms: 0.0,
            backward_ms: 0.0,
        });
        match pass {
            Pass::Forward => {
                part.calls = spent.calls as f64 / steps;
                part.forward_ms = ms(spent.time);
            }
            Pass::Backward => part.backward_ms = ms(spent.time),
        }
    }
    let mut parts: Vec<Part> = by_name.into_values().collect();
    let other = |name: &str, forward_ms: f64| Part {
        name: name.into(),
        calls: 1.0,
        forward_ms,
        backward_ms: 0.0,
    };
    parts.push(other("update", ms(updating)));
    let rest = times.iter().sum::<f64>() / steps - parts.iter().map(Part::ms).sum::<f64>();
    parts.push(other("else", rest.max(0.0)));
    parts.sort_by(|a, b| b.ms().total_cmp(&a.ms()));
    parts
}
