//! The loss: invariance to the other view, with variance and covariance of what is predicted.

use hssl_plugin_api::component::{Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::joint_embedding::{
    Design, JointEmbedding, Pair, PairLoss, Target, TargetGradient, at_least_one,
};
use hssl_plugin_api::nn::BatchNormMlpConfig;
use hssl_plugin_api::serde_json::Value;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::recipe;
use crate::terms::{covariance, invariance, variance};

/// Options of the `vicreg` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of the vectors that are compared.
    #[serde(default = "width")]
    pub out_dim: usize,
    /// Hidden width of the expander.
    #[serde(default = "width")]
    pub hidden_dim: usize,
    /// Dense layers of the expander.
    #[serde(default = "expander_layers")]
    pub expander_layers: usize,
    /// Weight of the mean squared difference to the target (over the dimensions too, as in the released
    /// program; the paper's equation, which adds them up, is this weight times out_dim).
    #[serde(default = "strong")]
    pub invariance: f64,
    /// Weight of what standard deviations lack to 1, as the mean over both views (as in the released
    /// program; the paper's equation adds the views up: twice the weight).
    #[serde(default = "strong")]
    pub variance: f64,
    /// Weight of the squared covariances, added up over both views.
    #[serde(default = "weak")]
    pub covariance: f64,
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
fn expander_layers() -> usize {
    3
}
fn strong() -> f64 {
    25.0
}
fn weak() -> f64 {
    1.0
}

impl Config {
    fn check(&self) -> Result<()> {
        at_least_one(
            "vicreg",
            &[
                ("out_dim", self.out_dim),
                ("hidden_dim", self.hidden_dim),
                ("expander_layers", self.expander_layers),
            ],
        )?;
        for (key, weight) in [
            ("invariance", self.invariance),
            ("variance", self.variance),
            ("covariance", self.covariance),
        ] {
            if !weight.is_finite() || weight < 0.0 {
                refuse!("vicreg: {key} is {weight}; expected a weight of 0 or more");
            }
        }
        if self.invariance == 0.0 {
            refuse!("vicreg: invariance is 0, which leaves nothing that compares views");
        }
        Ok(())
    }

    fn design(&self) -> Design {
        Design {
            method: "vicreg",
            projector: BatchNormMlpConfig {
                layers: self.expander_layers,
                hidden: self.hidden_dim,
                output: self.out_dim,
                output_norm: false,
            },
            predictor: None,
            target: Target::new(self.momentum_target, self.target_gradient),
            crops_together: false,
            symmetric: false,
        }
    }

    /// lambda s + mu v + 2 nu c, of which the mean over both directions of a pair of views is the paper's
    /// lambda s + mu/2 (v + v') + nu (c + c'). What keeps vectors apart is asked of predictions alone: the
    /// targets are another branch's, which answers for itself, or are predictions too.
    fn loss(&self, pair: &Pair<'_>, log: bool) -> Result<PairLoss> {
        let invariance = invariance(pair.prediction, pair.target)?;
        let variance = variance(pair.prediction)?;
        let covariance = covariance(pair.prediction)?;
        let loss = invariance.scale(self.invariance)?;
        let loss = loss.add(&variance.scale(self.variance)?)?;
        let loss = loss.add(&covariance.scale(2.0 * self.covariance)?)?;
        let metrics = match log {
            true => {
                vec![("invariance", invariance), ("variance", variance), ("covariance", covariance)]
            }
            false => Vec::new(),
        };
        Ok(PairLoss { loss, metrics })
    }
}

/// Expanders, and the weights of the terms.
pub struct VicReg {
    embedding: JointEmbedding,
    config: Config,
}

impl Objective for VicReg {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        Ok(Self { embedding: JointEmbedding::new(config.design(), setup)?, config })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.embedding.step(cx, views, |pair| self.config.loss(pair, cx.info.log))
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}
