//! A library that runs code while it is being opened: it creates the file that
//! `HSSL_TEST_CONSTRUCTOR_RAN` names.

use hssl_plugin_api::component::{HeadInput, HeadSpec};
use hssl_plugin_api::{Context, Head, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "constructor",
    head "constructor": Identity, "Hands its input on";
}

extern "C" fn constructor() {
    if let Some(path) = std::env::var_os("HSSL_TEST_CONSTRUCTOR_RAN") {
        // A constructor has nobody to report to; the test looks for the file.
        let _ = std::fs::write(path, "ran");
    }
}

#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static CONSTRUCTOR: extern "C" fn() = constructor;

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
