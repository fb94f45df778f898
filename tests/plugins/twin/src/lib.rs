//! The head of the minimal plugin, a second time.

use hssl_plugin_api::component::{HeadInput, HeadSpec};
use hssl_plugin_api::{Context, Head, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "twin",
    head "minimal": Identity, "Hands its input on";
    head "identity": Identity, "Hands its input on";
}

/// No options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Hands its input on.
#[derive(Debug)]
pub struct Identity {
    width: usize,
}

impl Head for Identity {
    type Config = Nothing;

    fn new(_config: Nothing, input: &HeadInput, _params: &Params<'_>) -> Result<Self> {
        Ok(Self { width: input.width })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: 0, fixed_grid: false }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, map: &Tensor, _training: bool) -> Result<Tensor> {
        Ok(map.clone())
    }
}
