//! The loss: the cross-correlation of target and prediction is to be the identity.

use hssl_plugin_api::Result;
use hssl_plugin_api::component::{Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::joint_embedding::{
    Design, JointEmbedding, Pair, PairLoss, Target, TargetGradient, above_zero, at_least_one,
};
use hssl_plugin_api::nn::BatchNormMlpConfig;
use hssl_plugin_api::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::recipe;

/// Options of the `barlow` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of the vectors that are compared.
    #[serde(default = "width")]
    pub out_dim: usize,
    /// Hidden width of the projector.
    #[serde(default = "width")]
    pub hidden_dim: usize,
    /// Dense layers of the projector.
    #[serde(default = "projector_layers")]
    pub projector_layers: usize,
    /// Weight of the correlations of different dimensions.
    #[serde(default = "lambd")]
    pub lambd: f64,
    /// Take the targets from a teacher instead of the student. The recipe's teacher is the student of
    /// the step before: set train.momentum_teacher too, for example to 0.99.
    #[serde(default)]
    pub momentum_target: bool,
    /// Without a momentum target: whether a target has a gradient. `own`, if its edge leads from a
    /// projection to itself, as all do in the paper; `always`; `never`.
    #[serde(default)]
    pub target_gradient: TargetGradient,
}

fn width() -> usize {
    8192
}
fn projector_layers() -> usize {
    3
}
fn lambd() -> f64 {
    0.0051
}

impl Config {
    fn check(&self) -> Result<()> {
        above_zero("barlow", &[("lambd", self.lambd)])?;
        at_least_one(
            "barlow",
            &[
                ("out_dim", self.out_dim),
                ("hidden_dim", self.hidden_dim),
                ("projector_layers", self.projector_layers),
            ],
        )
    }

    /// The batch norm without an affine map that the loss begins with ends the projector.
    fn design(&self) -> Design {
        Design {
            method: "barlow",
            projector: BatchNormMlpConfig {
                layers: self.projector_layers,
                hidden: self.hidden_dim,
                output: self.out_dim,
                output_norm: true,
            },
            predictor: None,
            target: Target::new(self.momentum_target, self.target_gradient),
            crops_together: false,
            symmetric: true,
        }
    }
}

/// Projectors, and the weight of redundancy.
pub struct BarlowTwins {
    embedding: JointEmbedding,
    lambd: f64,
}

impl Objective for BarlowTwins {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        let embedding = JointEmbedding::new(config.design(), setup)?;
        Ok(Self { embedding, lambd: config.lambd })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.embedding.step(cx, views, |pair| correlation_loss(pair, self.lambd, cx.info.log))
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}

/// sum_i (1 - C_ii)^2 + lambd sum_i sum_(j != i) C_ij^2, C the mean over the batch of the products of
/// standardised dimensions. The diagonal, which columns give without the matrix, is taken off its square.
fn correlation_loss(pair: &Pair<'_>, lambd: f64, log: bool) -> Result<PairLoss> {
    let (images, width) = pair.prediction.dims2()?;
    let matrix = pair.target.t()?.matmul(pair.prediction)?.scale(1.0 / images as f64)?;
    let diagonal = pair.target.mul(pair.prediction)?.mean(&[0], false)?;
    let invariance = diagonal.affine(-1.0, 1.0)?.square()?.sum_all()?;
    let redundancy = matrix.square()?.sum_all()?.sub(&diagonal.square()?.sum_all()?)?;
    let loss = invariance.add(&redundancy.scale(lambd)?)?;
    let mut metrics = Vec::new();
    if log {
        // The mean correlation of a dimension with itself, and the root mean square of those with others.
        let others = (width * (width - 1)).max(1) as f64;
        metrics.push(("correlation", diagonal.mean_all()?));
        let square = redundancy.detach()?.scale(1.0 / others)?.clamp(0.0, f64::MAX)?;
        metrics.push(("redundancy", square.sqrt()?));
    }
    Ok(PairLoss { loss, metrics })
}
