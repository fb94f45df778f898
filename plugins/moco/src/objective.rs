//! The loss: every query finds the teacher's key of its image's other view among those of the batch.

use hssl_plugin_api::Result;
use hssl_plugin_api::component::{Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::joint_embedding::{
    Design, JointEmbedding, Target, above_zero, at_least_one, info_nce,
};
use hssl_plugin_api::nn::BatchNormMlpConfig;
use hssl_plugin_api::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::recipe;

/// Options of the `moco` objective. The defaults are those for vision transformers; for a ResNet the
/// paper has temperature = 1, projector_layers = 2 and predictor_norm = false.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of queries and keys.
    #[serde(default = "out_dim")]
    pub out_dim: usize,
    /// Hidden width of projector and predictor.
    #[serde(default = "hidden_dim")]
    pub hidden_dim: usize,
    /// Dense layers of the projector.
    #[serde(default = "projector_layers")]
    pub projector_layers: usize,
    /// Dense layers of the predictor.
    #[serde(default = "predictor_layers")]
    pub predictor_layers: usize,
    /// Batch norm (without an affine map) after the predictor's last layer, as after the projector's.
    #[serde(default = "yes")]
    pub predictor_norm: bool,
    /// Temperature of the cosine similarities.
    #[serde(default = "temperature")]
    pub temperature: f64,
}

fn out_dim() -> usize {
    256
}
fn hidden_dim() -> usize {
    4096
}
fn projector_layers() -> usize {
    3
}
fn predictor_layers() -> usize {
    2
}
fn yes() -> bool {
    true
}
fn temperature() -> f64 {
    0.2
}

impl Config {
    fn check(&self) -> Result<()> {
        above_zero("moco", &[("temperature", self.temperature)])?;
        at_least_one(
            "moco",
            &[
                ("out_dim", self.out_dim),
                ("hidden_dim", self.hidden_dim),
                ("projector_layers", self.projector_layers),
                ("predictor_layers", self.predictor_layers),
            ],
        )
    }

    fn design(&self) -> Design {
        let mlp = |layers, output_norm| BatchNormMlpConfig {
            layers,
            hidden: self.hidden_dim,
            output: self.out_dim,
            output_norm,
        };
        Design {
            method: "moco",
            projector: mlp(self.projector_layers, true),
            predictor: Some(mlp(self.predictor_layers, self.predictor_norm)),
            target: Target::Teacher,
            crops_together: false,
            symmetric: false,
        }
    }
}

/// Projectors of both networks, the student's predictors, and the temperature.
pub struct MoCo {
    embedding: JointEmbedding,
    temperature: f64,
}

impl Objective for MoCo {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        let embedding = JointEmbedding::new(config.design(), setup)?;
        Ok(Self { embedding, temperature: config.temperature })
    }

    /// ctr(q, k) = 2 tau CE(q k^T / tau), twice: the paper adds both directions of a pair of views, of
    /// which the term of an edge is the mean.
    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        let temperature = self.temperature;
        self.embedding.step(cx, views, |pair| {
            let compared = (pair.prediction, pair.target, None);
            let mut made = info_nce(cx.context(), compared, temperature, cx.info.log)?;
            made.loss = made.loss.scale(4.0 * temperature)?;
            Ok(made)
        })
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}
