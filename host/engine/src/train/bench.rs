//! How fast a step is.

use std::sync::Arc;
use std::time::Instant;

use hssl_datasets::{Loader, LoaderOptions, Roots, cached, open};
use hssl_plugin_api::component::StepInfo;
use hssl_tensor::{Array, Device, random};
use serde::Serialize;

use super::{BatchViews, Learner, Rates, batches};
use crate::config::{Precision, RunConfig};
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::loader_threads;
use crate::plugin::Registry;

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
}

/// Random views of a configuration's shapes.
pub fn synthetic_views(config: &RunConfig, device: &Device) -> Result<BatchViews> {
    let (views, batch) = (&config.views, config.train.batch_size);
    let noise = |crops: usize, size: usize| -> Result<Array> {
        let shape = (crops, batch, 3, size, size);
        let values = random::normal(crops * batch * 3 * size * size);
        let array = Array::from_vec(values, shape, &Device::Cpu).and_then(|a| a.to_device(device));
        Ok(array.map_err(hssl_tensor::Error::from)?)
    };
    random::scope(config.train.seed, u64::MAX, || {
        Ok(BatchViews {
            global: noise(views.global_crops_number, views.global_crops_size)?,
            local: (views.local_crops_number > 0)
                .then(|| noise(views.local_crops_number, views.local_crops_size))
                .transpose()?,
            mask: None,
        })
    })
}

/// Times whole training steps after a warm-up. With `roots`, views come from the configured images
/// through the loader; without, the same random views lie on the device.
///
/// # Errors
/// The composition cannot be built or a step fails.
pub fn bench(
    config: &RunConfig,
    registry: &Registry,
    (steps, warmup): (usize, usize),
    roots: Option<&Roots>,
) -> Result<Measurement> {
    let device = device::select(&config.train.device)?;
    let mut learner = Learner::build(config, registry, &device)?;
    let resident = synthetic_views(config, &device)?;
    let mut source = roots.map(|roots| Source::new(config, roots)).transpose()?;
    let rates = Rates { lr: 1e-4, weight_decay: 0.04, momentum_teacher: 0.996 };
    let mut times = Vec::with_capacity(steps);
    for step in 0..warmup + steps.max(1) {
        // Past the epochs in which the last layer stands still.
        let epoch = config.train.freeze_last_layer;
        let info = StepInfo { epoch, epochs: epoch + 1, step, steps_per_epoch: 1, log: false };
        let start = Instant::now();
        let views = match &mut source {
            Some(source) => source.next(&device)?,
            None => resident.clone(),
        };
        let outcome = learner.forward(&views, &info, 0)?;
        let gradients = learner.backward(&outcome, 1)?;
        learner.update(gradients, rates, &info)?;
        drop(outcome);
        device.synchronize().map_err(hssl_tensor::Error::from)?;
        if step >= warmup {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    Ok(Measurement {
        images_per_s: config.train.batch_size as f64 * 1e3 / median,
        step_ms: median,
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
    })
}

/// Batches without end.
struct Source {
    dataset: Arc<dyn hssl_datasets::Dataset>,
    transform: Arc<hssl_datasets::MultiCrop>,
    options: LoaderOptions,
    loader: Loader,
}

impl Source {
    fn new(config: &RunConfig, roots: &Roots) -> Result<Self> {
        let dataset = cached(open(&config.data.train, roots)?, config.data.cache_mb << 20);
        let mut options = LoaderOptions::training(config.train.batch_size, config.train.seed, 0);
        options.threads = loader_threads(config.data.threads);
        options.prefetch = config.data.prefetch.max(1);
        let transform = Arc::new(config.views.clone());
        let loader = Loader::start(dataset.clone(), transform.clone(), options.clone())?;
        Ok(Self { dataset, transform, options, loader })
    }

    fn next(&mut self, device: &Device) -> Result<BatchViews> {
        if let Some(batch) = self.loader.next() {
            return batches::views(batch?, device);
        }
        self.options.epoch += 1;
        let (dataset, transform) = (self.dataset.clone(), self.transform.clone());
        self.loader = Loader::start(dataset, transform, self.options.clone())?;
        let batch = self.loader.next().ok_or_else(|| {
            Error::Composition(
                "the data set is smaller than a batch; lower train.batch_size".into(),
            )
        })?;
        batches::views(batch?, device)
    }
}
