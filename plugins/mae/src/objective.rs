//! The objective: the latent that pixels are decoded from is the base's output.

use hssl_plugin_api::Result;
use hssl_plugin_api::Tensor;
use hssl_plugin_api::component::{
    Capability, Loss, Objective, ObjectiveSetup, StepContext, Tokens, Views,
};
use hssl_plugin_api::masked_autoencoding::{Latent, MaskedAutoencoder, Options, recipe};
use hssl_plugin_api::serde_json::Value;
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of the `mae` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Those of all masked autoencoders.
    #[serde(flatten)]
    options: Options,
}

/// Decoder and predictors.
pub struct Mae(MaskedAutoencoder);

/// The base's last tokens after its final norm.
struct LastTokens;

impl Latent for LastTokens {
    fn layers(&self) -> &[usize] {
        &[]
    }

    fn latent(&self, _: &StepContext<'_>, tokens: &Tokens) -> Result<Tensor> {
        Ok(tokens.normed.clone())
    }
}

impl Objective for Mae {
    type Config = Config;

    fn recipe() -> Value {
        recipe(400)
    }

    fn needs() -> Vec<Capability> {
        vec![Capability::DropTokens]
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        MaskedAutoencoder::new("mae", config.options, setup).map(Self)
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        self.0.step(cx, views, &LastTokens)
    }

    fn after_step(&mut self, _: &StepContext<'_>) -> Result<()> {
        Ok(())
    }
}
