//! Downstream evaluations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::abi::method;
use crate::wire::Envelope;
use crate::{Context, Params, Result, Tensor};

/// An evaluation of a frozen or fine-tuned backbone: it drives, the host encodes and trains.
pub trait Evaluator: Send + Sized + 'static {
    /// Its configuration section.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks its configuration.
    fn new(config: Self::Config) -> Result<Self>;

    /// Runs to the end, or until the user stops it.
    fn run(&mut self, cx: &Evaluation<'_>) -> Result<Report>;
}

/// A part of the evaluation data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What classifiers learn from.
    Train,
    /// What they are scored on.
    Test,
}

/// Which vector stands for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// The image-level vector (C).
    Image,
    /// The image-level output of the last four blocks, each after the final norm (4C).
    LastFour,
    /// The image-level vector and the mean of the map (2C).
    ImageAndMean,
    /// The pixels themselves, resized and normalised: a control.
    Pixels,
}

/// Which features are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FeatureRequest {
    /// Of which images.
    pub split: Split,
    /// Which vector.
    pub kind: FeatureKind,
    /// Training augmentation (random resized crop and flip) drawn for this epoch; none: the test transform.
    pub augment: Option<usize>,
}

/// A group of an optimizer's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerGroup {
    /// Names within the evaluator's own parameters.
    pub parameters: Vec<String>,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// Which optimizer an evaluator wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerRequest {
    /// `sgd`, `lars` or `adamw`.
    pub algorithm: String,
    /// Momentum (SGD and LARS).
    pub momentum: f64,
    /// The groups.
    pub groups: Vec<OptimizerGroup>,
}

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The number that tables show.
    pub headline: String,
    /// Numbers by name; accuracies in %.
    pub metrics: BTreeMap<String, f64>,
    /// What a reader should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether each test image was answered right, for the number that tables show; empty unless an
    /// option of the evaluator asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub correct: Vec<bool>,
}

/// The host during an evaluation.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    context: Context<'a>,
    /// Number of classes of the data.
    pub classes: usize,
    /// Global seed of the evaluation.
    pub seed: u64,
}

/// An optimizer of the host.
#[derive(Clone, Copy, Debug)]
pub struct Optimizer<'a> {
    context: Context<'a>,
    id: u64,
}

impl<'a> Evaluation<'a> {
    /// Wraps a call's context.
    pub fn new(context: Context<'a>, classes: usize, seed: u64) -> Self {
        Self { context, classes, seed }
    }

    /// General services.
    pub fn context(&self) -> &Context<'a> {
        &self.context
    }

    /// Features (n, C) f32 and labels (n) i64 of a split. What was computed once is kept.
    pub fn features(&self, request: &FeatureRequest) -> Result<(Tensor, Tensor)> {
        let reply = self.context.call(method::host::FEATURES, &Envelope::new(request)?)?;
        Ok((reply.tensor("features")?, reply.tensor("labels")?))
    }

    /// The evaluator's own parameters, in f32.
    pub fn params(&self) -> Params<'a> {
        Params::root(self.context, "evaluator")
    }

    /// Makes an optimizer for some of [`Evaluation::params`].
    pub fn optimizer(&self, request: &OptimizerRequest) -> Result<Optimizer<'a>> {
        let reply = self.context.call(method::host::OPTIMIZER, &Envelope::new(request)?)?;
        Ok(Optimizer { context: self.context, id: reply.read::<u64>()? })
    }

    /// Reports progress; true means that the user wants it stopped.
    pub fn progress(&self, done: usize, total: usize, text: &str) -> Result<bool> {
        self.context.progress(done, total, text)
    }
}

impl Optimizer<'_> {
    /// Differentiates `loss` and steps with every learning rate times `lr_factor`.
    pub fn step(&self, loss: &Tensor, lr_factor: f64) -> Result<()> {
        let body = serde_json::json!({ "optimizer": self.id, "lr_factor": lr_factor });
        let request = Envelope::new(&body)?.with("loss", loss);
        self.context.call(method::host::OPTIMIZER_STEP, &request).map(drop)
    }
}
