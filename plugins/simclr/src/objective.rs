//! The loss: NT-Xent over the two views of every image of the batch.

use hssl_plugin_api::Result;
use hssl_plugin_api::component::{Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::joint_embedding::{
    Design, JointEmbedding, Target, TargetGradient, above_zero, at_least_one, info_nce,
};
use hssl_plugin_api::nn::BatchNormMlpConfig;
use hssl_plugin_api::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::recipe::recipe;

/// Options of the `simclr` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Width of the vectors that are compared.
    #[serde(default = "out_dim")]
    pub out_dim: usize,
    /// Hidden width of the projector.
    #[serde(default = "hidden_dim")]
    pub hidden_dim: usize,
    /// Dense layers of the projector.
    #[serde(default = "projector_layers")]
    pub projector_layers: usize,
    /// Batch norm (without an affine map) after the projector's last layer, which the released program
    /// has and the paper does not mention.
    #[serde(default = "yes")]
    pub output_norm: bool,
    /// Temperature of the cosine similarities.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Take the targets from a teacher instead of the student. The recipe's teacher is the student of
    /// the step before: set train.momentum_teacher too, for example to 0.99.
    #[serde(default)]
    pub momentum_target: bool,
    /// Without a momentum target: whether a target has a gradient. `own`, if its edge leads from a
    /// projection to itself, as all do in the paper; `always`; `never`.
    #[serde(default)]
    pub target_gradient: TargetGradient,
}

fn out_dim() -> usize {
    128
}
fn hidden_dim() -> usize {
    2048
}
fn projector_layers() -> usize {
    2
}
fn yes() -> bool {
    true
}
fn temperature() -> f64 {
    0.1
}

/// Both views go through batch norms as one batch, as the released program has it.
fn design(config: &Config) -> Design {
    Design {
        method: "simclr",
        projector: BatchNormMlpConfig {
            layers: config.projector_layers,
            hidden: config.hidden_dim,
            output: config.out_dim,
            output_norm: config.output_norm,
        },
        predictor: None,
        target: Target::new(config.momentum_target, config.target_gradient),
        crops_together: true,
        symmetric: false,
    }
}

/// Projectors, and the temperature by which they are compared.
pub struct SimClr {
    embedding: JointEmbedding,
    temperature: f64,
}

impl Objective for SimClr {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        above_zero("simclr", &[("temperature", config.temperature)])?;
        at_least_one(
            "simclr",
            &[
                ("out_dim", config.out_dim),
                ("hidden_dim", config.hidden_dim),
                ("projector_layers", config.projector_layers),
            ],
        )?;
        let embedding = JointEmbedding::new(design(&config), setup)?;
        Ok(Self { embedding, temperature: config.temperature })
    }

    /// Every prediction finds the target of its image's other view among the targets of both views of
    /// all images, but for its own view's: with the student's vectors at both ends, the mean over 2 B
    /// anchors of the paper's equation (1). A local crop makes no targets, so that it is compared with B
    /// of them instead of 2 B - 1.
    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.embedding.step(cx, views, |pair| {
            let compared = (pair.prediction, pair.target, pair.own_target);
            info_nce(cx.context(), compared, self.temperature, cx.info.log)
        })
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}
