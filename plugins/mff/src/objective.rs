//! The objective: the latent that pixels are decoded from is a mixture of the base's layers.

use hssl_plugin_api::component::{Capability, Loss, Objective, ObjectiveSetup, StepContext, Views};
use hssl_plugin_api::masked_autoencoding::{
    MaskedAutoencoder, Options, recipe, reconstructs_from_base,
};
use hssl_plugin_api::serde_json::Value;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fusion::Fusion;

/// What auxiliary heads take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadInput {
    /// The output of the base's last block.
    #[default]
    Last,
    /// The mixture.
    Fused,
}

/// Options of the `mff` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Blocks of the base, counted from 0, whose outputs are mixed.
    #[serde(default = "fuse_layers")]
    fuse_layers: Vec<usize>,
    /// What the student's auxiliary heads take: the output of the base's last block, as the teacher's do
    /// (`last`), or the mixture (`fused`).
    #[serde(default)]
    head_input: HeadInput,
    /// Those of all masked autoencoders.
    #[serde(flatten)]
    options: Options,
}

fn fuse_layers() -> Vec<usize> {
    vec![0, 2, 4, 6, 8, 11]
}

/// Decoder and predictors, and the mixture.
pub struct Mff {
    autoencoder: MaskedAutoencoder,
    fusion: Fusion,
}

impl Objective for Mff {
    type Config = Config;

    fn recipe() -> Value {
        recipe(300)
    }

    fn needs() -> Vec<Capability> {
        vec![Capability::DropTokens]
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        Fusion::check(&config.fuse_layers, setup.base.blocks)?;
        let fused_heads = config.head_input == HeadInput::Fused;
        if !fused_heads && !reconstructs_from_base(&setup.edges) {
            refuse!(
                "mff: no edge of the supervision graph supervises the base, so nothing would use the \
                 mixture of its layers: add one, set objective.head_input = \"fused\", or use mae"
            );
        }
        let autoencoder = MaskedAutoencoder::new("mff", config.options, setup)?;
        let params = setup.student.pp("fusion");
        let fusion = Fusion::new(config.fuse_layers, setup.base.width, fused_heads, &params)?;
        Ok(Self { autoencoder, fusion })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.autoencoder.step(cx, views, &self.fusion)
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}
