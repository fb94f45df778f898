//! The loss: the student's prediction of the teacher's vector, by their cosine.

use hssl_plugin_api::Result;
use hssl_plugin_api::component::{Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::joint_embedding::{
    Design, JointEmbedding, Pair, PairLoss, Target, at_least_one,
};
use hssl_plugin_api::nn::BatchNormMlpConfig;
use hssl_plugin_api::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::recipe;

/// Options of the `byol` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of the vectors that are compared.
    #[serde(default = "out_dim")]
    pub out_dim: usize,
    /// Hidden width of projector and predictor.
    #[serde(default = "hidden_dim")]
    pub hidden_dim: usize,
    /// Dense layers of the projector.
    #[serde(default = "layers")]
    pub projector_layers: usize,
    /// Dense layers of the predictor.
    #[serde(default = "layers")]
    pub predictor_layers: usize,
}

fn out_dim() -> usize {
    256
}
fn hidden_dim() -> usize {
    4096
}
fn layers() -> usize {
    2
}

impl Config {
    fn check(&self) -> Result<()> {
        at_least_one(
            "byol",
            &[
                ("out_dim", self.out_dim),
                ("hidden_dim", self.hidden_dim),
                ("projector_layers", self.projector_layers),
                ("predictor_layers", self.predictor_layers),
            ],
        )
    }

    fn design(&self) -> Design {
        let mlp = |layers| BatchNormMlpConfig {
            layers,
            hidden: self.hidden_dim,
            output: self.out_dim,
            output_norm: false,
        };
        Design {
            method: "byol",
            projector: mlp(self.projector_layers),
            predictor: Some(mlp(self.predictor_layers)),
            target: Target::Teacher,
            crops_together: false,
            symmetric: false,
        }
    }
}

/// Projectors of both networks and the student's predictors.
pub struct Byol(JointEmbedding);

impl Objective for Byol {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        Ok(Self(JointEmbedding::new(config.design(), setup)?))
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.0.step(cx, views, |pair| cosine_loss(pair, cx.info.log))
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}

/// ||p - t||^2 = 2 - 2 cos of the vectors of unit length, twice: the paper adds both directions of a pair
/// of views, of which the term of an edge is the mean.
fn cosine_loss(pair: &Pair<'_>, log: bool) -> Result<PairLoss> {
    let prediction = pair.prediction.l2_normalize(-1, 1e-12)?;
    let target = pair.target.l2_normalize(-1, 1e-12)?;
    let cosine = prediction.mul(&target)?.sum(&[-1], false)?.mean_all()?;
    let metrics = if log { vec![("cosine", cosine.clone())] } else { Vec::new() };
    Ok(PairLoss { loss: cosine.affine(-4.0, 4.0)?, metrics })
}
