//! Components that panic, each in another entry point.

use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Features, HeadInput, HeadSpec, Request, StageSpec,
};
use hssl_plugin_api::{Backbone, Context, Head, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "panics",
    backbone "panics_in_forward": InForward, "Panics when it is given images";
    head "panics_in_new": InNew, "Panics while it is made";
}

/// No options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Panics in `forward`.
#[derive(Debug)]
pub struct InForward;

impl Backbone for InForward {
    type Config = Nothing;

    fn new(_config: Nothing, _setup: &BackboneSetup, _params: &Params<'_>) -> Result<Self> {
        Ok(Self)
    }

    fn capabilities() -> Vec<Capability> {
        Vec::new()
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: 4,
            blocks: 0,
            stages: vec![StageSpec { stride: 8, width: 4 }],
            image_size: 16,
        }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, images: &Tensor, _request: &Request) -> Result<Features> {
        panic!("no use for images of {:?}", images.dims())
    }
}

/// Panics in `new`.
#[derive(Debug)]
pub struct InNew;

impl Head for InNew {
    type Config = Nothing;

    fn new(_config: Nothing, input: &HeadInput, _params: &Params<'_>) -> Result<Self> {
        panic!("no head of width {}", input.width)
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: 0, blocks: 0, fixed_grid: false }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, map: &Tensor, _training: bool) -> Result<Tensor> {
        Ok(map.clone())
    }
}
