//! Evaluations of a frozen base model by evaluator plugins.

mod encoder;
mod services;
mod spread;

use std::sync::Arc;

use hssl_datasets::{Dataset, EvalTransform, RandomCropFlip, Roots, open};
use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{Kind, Report};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::Device;

pub use encoder::{Encoded, Encoder, images_tensor};
pub use spread::{Spread, spread};

use crate::config::{ComponentConfig, RunConfig};
use crate::error::{Error, Result};
use crate::events::Observer;
use crate::network::Network;
use crate::plugin::{Registry, instantiate};
pub(crate) use services::{EvaluationServices, FeatureSource};

/// The other way out where data does not fit an evaluation.
const OR_NONE_ONLINE: &str = "or set eval.online_every = 0 to train without evaluations";

/// The two parts of an evaluation's data and how images become inputs.
#[derive(Clone)]
pub struct EvaluationData {
    /// What classifiers learn from.
    pub train: Arc<dyn Dataset>,
    /// What they are scored on.
    pub test: Arc<dyn Dataset>,
    /// Resize and centre crop.
    pub plain: EvalTransform,
    /// Random crop and flip for probes that augment.
    pub augment: RandomCropFlip,
    /// Images encoded at a time.
    pub batch_size: usize,
    /// Loader threads.
    pub threads: usize,
}

impl EvaluationData {
    /// Opens what a configuration names; with `limits`, only so many images of each part (0: all).
    ///
    /// # Errors
    /// The configuration names no test images, or a set cannot be opened.
    pub fn open(config: &RunConfig, roots: &Roots, limits: (usize, usize)) -> Result<Self> {
        let train = config.data.eval_train.as_ref().unwrap_or(&config.data.train);
        let test = config.data.eval_test.as_ref().ok_or_else(|| {
            Error::Composition(
                "an evaluation needs test images; set data.eval_test, for example to \
                 \"cifar10#test\""
                    .into(),
            )
        })?;
        let cut = |dataset: Arc<dyn Dataset>, limit: usize| -> Result<Arc<dyn Dataset>> {
            if limit == 0 || limit >= dataset.len() {
                return Ok(dataset);
            }
            let portion = hssl_datasets::Portion::Count(limit);
            Ok(hssl_datasets::subset(dataset, portion, config.train.seed)?)
        };
        let (mean, std) = (config.views.mean, config.views.std);
        let interpolation = config.views.interpolation;
        let crop = match (config.eval.crop, config.eval.resize) {
            (0, 0) => config.views.global_crops_size,
            (0, resize) => resize,
            (crop, _) => crop,
        };
        Ok(Self {
            train: cut(open(train, roots)?, limits.0)?,
            test: cut(open(test, roots)?, limits.1)?,
            plain: EvalTransform {
                resize: config.eval.resize,
                crop: config.eval.crop,
                mean,
                std,
                interpolation,
            },
            augment: RandomCropFlip { size: crop, mean, std, ..RandomCropFlip::default() },
            batch_size: config.eval.batch_size,
            threads: loader_threads(config.data.threads),
        })
    }

    /// Number of classes.
    ///
    /// # Errors
    /// The parts do not have the same classes, or none.
    pub fn classes(&self) -> Result<usize> {
        let (train, test) = (self.train.classes(), self.test.classes());
        if train.is_empty() {
            return Err(Error::Composition(format!(
                "{} has no labels, which this evaluation needs; name labelled images in \
                 data.eval_train and data.eval_test, {OR_NONE_ONLINE}",
                self.train.describe()
            )));
        }
        if train != test {
            return Err(Error::Composition(format!(
                "the evaluation's parts have different classes: {} and {}; name two parts of one \
                 set in data.eval_train and data.eval_test, {OR_NONE_ONLINE}",
                self.train.describe(),
                self.test.describe()
            )));
        }
        Ok(train.len())
    }
}

/// Threads that load images; 0 in a configuration means as many as there are cores.
pub fn loader_threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        threads => threads,
    }
}

/// A base model under evaluation.
pub struct Evaluator<'a> {
    encoder: Encoder<'a>,
    registry: &'a Registry,
    observer: &'a dyn Observer,
    classes: usize,
    seed: u64,
}

impl<'a> Evaluator<'a> {
    /// Evaluates `network` on `data`.
    pub fn new(
        network: &'a mut Network,
        data: EvaluationData,
        registry: &'a Registry,
        (device, autocast): (&Device, bool),
        observer: &'a dyn Observer,
        seed: u64,
    ) -> Result<Self> {
        let classes = data.classes()?;
        let encoder = Encoder::new(network, data, device.clone(), autocast);
        Ok(Self { encoder, registry, observer, classes, seed })
    }

    /// Runs one evaluation to its end.
    pub fn run(&mut self, evaluator: &ComponentConfig) -> Result<Report> {
        let (classes, seed) = (self.classes, self.seed);
        run(&mut self.encoder, evaluator, self.registry, (classes, seed), self.observer)
    }

    /// How the test images' features are spread: what a collapse shows in.
    pub fn spread(&mut self) -> Result<Spread> {
        use hssl_plugin_api::component::{FeatureKind, FeatureRequest, Split};
        let request =
            FeatureRequest { split: Split::Test, kind: FeatureKind::Image, augment: None };
        let encoded = self.encoder.features(&request, self.observer)?;
        spread(&encoded.features)
    }
}

/// Runs an evaluator plugin on features of any source.
pub(crate) fn run(
    source: &mut dyn FeatureSource,
    evaluator: &ComponentConfig,
    registry: &Registry,
    (classes, seed): (usize, u64),
    observer: &dyn Observer,
) -> Result<Report> {
    let mut services = EvaluationServices::new(source, observer, seed);
    let request = Envelope::new(&evaluator.options)?;
    let name = &evaluator.plugin;
    let mut instance = instantiate(registry, Kind::Evaluator, name, &request, &mut services)?;
    let setup = serde_json::json!({ "classes": classes, "seed": seed });
    let call = (method::component::RUN, "run");
    let device = services.device().clone();
    let reply = crate::plugin::on_device(&device, || {
        instance.call(call, &Envelope::new(&setup)?, &mut services).map_err(Error::from)
    })?;
    Ok(reply.read()?)
}
