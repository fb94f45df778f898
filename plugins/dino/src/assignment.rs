//! How the teacher's outputs become targets without any one prototype winning always.

use hssl_plugin_api::component::{End, StepContext};
use hssl_plugin_api::self_distillation::Centre;
use hssl_plugin_api::{Context, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::objective::Config;
use crate::sinkhorn::sinkhorn_knopp;

/// What keeps the prototypes in use.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Centering {
    /// A moving average of the outputs is taken off them (DINO).
    Mean,
    /// Every batch is spread evenly over the prototypes by three rounds of Sinkhorn-Knopp (SwAV,
    /// DINOv2). Wants few prototypes or large batches.
    SinkhornKnopp,
}

/// Makes the targets of one teacher projection.
pub enum Assignment {
    /// With the projection's centre.
    Mean(Centre),
    /// Keeps nothing between steps.
    SinkhornKnopp,
}

impl Assignment {
    /// For one teacher projection; a centre is kept in `state`.
    pub fn new(end: &End, config: &Config, state: &Params<'_>) -> Result<Self> {
        Ok(match config.centering {
            Centering::Mean => {
                let (outputs, momentum) = (config.out_dim, config.center_momentum);
                Self::Mean(Centre::new("center", end, outputs, momentum, state)?)
            }
            Centering::SinkhornKnopp => Self::SinkhornKnopp,
        })
    }

    /// Targets (n, K) of the outputs (n, K) of all global crops of a batch.
    pub fn targets(
        &mut self,
        cx: &StepContext<'_>,
        logits: &Tensor,
        temperature: f64,
    ) -> Result<Tensor> {
        match self {
            Self::Mean(centre) => {
                let targets = centre.centred(logits, temperature)?.softmax(-1)?;
                centre.observe(logits)?;
                Ok(targets)
            }
            Self::SinkhornKnopp => {
                sinkhorn_knopp(logits, temperature, |sums| cx.context().all_reduce_mean(sums))
            }
        }
    }

    /// The centre, if one is kept.
    pub fn centre(&self) -> Option<&Centre> {
        match self {
            Self::Mean(centre) => Some(centre),
            Self::SinkhornKnopp => None,
        }
    }

    /// After the optimizer's step.
    pub fn update(&mut self, cx: &Context<'_>) -> Result<()> {
        match self {
            Self::Mean(centre) => centre.update(cx),
            Self::SinkhornKnopp => Ok(()),
        }
    }
}
