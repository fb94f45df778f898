//! What the host does for an evaluator: encode, make parameters, optimise.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{FeatureRequest, OptimizerRequest};
use hssl_plugin_api::params::ParameterRequest;
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api};
use hssl_tensor::optim::{AdamW, Group, Lars, Optimizer, Sgd};
use hssl_tensor::{Device, backward, random};

use super::{Encoded, Encoder};
use crate::error::{Error, Result};
use crate::events::{Event, Observer};
use crate::network::{assign, unavailable};
use crate::parameters::Store;
use crate::plugin::{Services, export, import, log_line};

/// Where an evaluation's features come from.
pub(crate) trait FeatureSource {
    /// The features that were asked for.
    fn features(&mut self, asked: &FeatureRequest, observer: &dyn Observer) -> Result<Encoded>;

    /// Where they lie.
    fn device(&self) -> &Device;
}

impl FeatureSource for Encoder<'_> {
    fn features(&mut self, asked: &FeatureRequest, observer: &dyn Observer) -> Result<Encoded> {
        Encoder::features(self, asked, observer)
    }

    fn device(&self) -> &Device {
        Encoder::device(self)
    }
}

/// Services of one evaluation; its parameters and optimizers end with it.
pub(crate) struct EvaluationServices<'e> {
    source: &'e mut dyn FeatureSource,
    observer: &'e dyn Observer,
    store: Store,
    optimizers: Vec<RunningOptimizer>,
    seed: u64,
}

/// An optimizer with the learning rates that `lr_factor` scales.
struct RunningOptimizer {
    optimizer: Box<dyn Optimizer>,
    lrs: Vec<f64>,
}

impl<'e> EvaluationServices<'e> {
    pub fn new(source: &'e mut dyn FeatureSource, observer: &'e dyn Observer, seed: u64) -> Self {
        Self { source, observer, store: Store::default(), optimizers: Vec::new(), seed }
    }

    pub fn device(&self) -> &Device {
        self.source.device()
    }

    fn serve(&mut self, service: u32, request: &Envelope) -> Result<Envelope> {
        match service {
            method::host::FEATURES => {
                let asked: FeatureRequest = request.read()?;
                let encoded = self.source.features(&asked, self.observer)?;
                Ok(Envelope::default()
                    .with("features", &export(&encoded.features))
                    .with("labels", &export(&encoded.labels)))
            }
            method::host::PARAMETER => {
                let asked: ParameterRequest = request.read()?;
                let device = self.device().clone();
                let made = self.store.create(&asked, self.seed, &device, asked.trainable)?;
                Ok(Envelope::default().with("parameter", &export(&made)))
            }
            method::host::OPTIMIZER => self.make_optimizer(&request.read()?),
            method::host::OPTIMIZER_STEP => self.step(request),
            method::host::RANDOM_STREAM => {
                let stream = request.body["stream"].as_u64().unwrap_or(0);
                random::restart(self.seed, stream);
                Ok(Envelope::default())
            }
            method::host::PROGRESS => {
                let size = |key: &str| request.body[key].as_u64().unwrap_or(0) as usize;
                let text = request.body["text"].as_str().unwrap_or_default().to_owned();
                let (done, total) = (size("done"), size("total"));
                self.observer.event(&Event::Progress { text, done, total });
                let cancelled = serde_json::json!({ "cancelled": self.observer.cancelled() });
                Ok(Envelope::new(&cancelled)?)
            }
            method::host::ASSIGN => Ok(assign(request)?),
            method::host::LOG => Ok(log_line(request)?),
            other => Err(unavailable(other, "in an evaluation").into()),
        }
    }

    fn make_optimizer(&mut self, asked: &OptimizerRequest) -> Result<Envelope> {
        let mut groups = Vec::new();
        for group in &asked.groups {
            let find = |name: &String| {
                self.store.get(name).cloned().ok_or_else(|| {
                    Error::Parameter(format!("{name} was never made by this evaluator"))
                })
            };
            let parameters = group.parameters.iter().map(find).collect::<Result<_>>()?;
            groups.push(Group::new(parameters, group.lr, group.weight_decay));
        }
        let lrs = asked.groups.iter().map(|group| group.lr).collect();
        let optimizer: Box<dyn Optimizer> = match asked.algorithm.as_str() {
            "sgd" => Box::new(Sgd::new(groups, asked.momentum, false)?),
            "lars" => Box::new(Lars::with(groups, asked.momentum, 1e-3)?),
            "adamw" => Box::new(AdamW::with(groups, (asked.momentum, 0.999), 1e-8)?),
            other => {
                return Err(Error::Composition(format!(
                    "there is no optimizer {other:?}; there are sgd, lars and adamw"
                )));
            }
        };
        self.optimizers.push(RunningOptimizer { optimizer, lrs });
        Ok(Envelope::new(&(self.optimizers.len() as u64 - 1))?)
    }

    fn step(&mut self, request: &Envelope) -> Result<Envelope> {
        let index = request.body["optimizer"].as_u64().unwrap_or(u64::MAX) as usize;
        let factor = request.body["lr_factor"].as_f64().unwrap_or(1.0);
        let gradients = backward(&import(&request.tensor("loss")?))?;
        let running = self
            .optimizers
            .get_mut(index)
            .ok_or_else(|| Error::Composition(format!("there is no optimizer number {index}")))?;
        for (group, lr) in running.optimizer.groups_mut().iter_mut().zip(&running.lrs) {
            group.lr = lr * factor;
        }
        running.optimizer.step(&gradients)?;
        Ok(Envelope::default())
    }
}

impl Services for EvaluationServices<'_> {
    fn call(&mut self, service: u32, request: Envelope) -> api::Result<Envelope> {
        self.serve(service, &request).map_err(|error| api::Error::Host(error.to_string()))
    }
}
