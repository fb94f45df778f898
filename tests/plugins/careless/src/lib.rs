//! Components that load and run, and do not keep their promises.

use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Evaluation, Evaluator, Features, HeadInput, HeadSpec,
    Report, Request, StageSpec,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, Linear};
use hssl_plugin_api::{Backbone, Context, Head, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "careless",
    backbone "careless": Mixing, "Mixes the images of a batch, leaves a parameter unused";
    head "careless": Narrow, "Returns another width than it says";
    evaluator "careless": Silent, "Reports a headline that it does not have";
}

/// Options; unknown ones are ignored, which they should not be.
#[derive(Deserialize, JsonSchema)]
pub struct Options {}

const PATCH: usize = 8;
const WIDTH: usize = 8;

/// A backbone whose features depend on the whole batch.
#[derive(Debug)]
pub struct Mixing {
    embedding: Conv2d,
    _unused: Linear,
}

impl Backbone for Mixing {
    type Config = Options;

    fn new(_config: Options, _setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            embedding: Conv2d::new(3, WIDTH, ConvConfig::patches(PATCH), &params.pp("embedding"))?,
            _unused: Linear::new(WIDTH, WIDTH, &params.pp("unused"))?,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::Attention]
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: WIDTH,
            blocks: 0,
            stages: vec![StageSpec { stride: PATCH, width: WIDTH }],
            image_size: 4 * PATCH,
        }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, images: &Tensor, _request: &Request) -> Result<Features> {
        let map = self.embedding.forward(&images.permute(&[0, 2, 3, 1])?)?;
        let map = map.sub(&map.mean(&[0], true)?.scale(0.5)?)?;
        Ok(Features::new(map.mean(&[1, 2], false)?, map))
    }
}

/// A head that halves the width and does not say so.
#[derive(Debug)]
pub struct Narrow {
    width: usize,
    linear: Linear,
}

impl Head for Narrow {
    type Config = Options;

    fn new(_config: Options, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let linear = Linear::new(input.width, input.width / 2, &params.pp("linear"))?;
        Ok(Self { width: input.width, linear })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: 1, fixed_grid: false }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, map: &Tensor, _training: bool) -> Result<Tensor> {
        self.linear.forward(map)
    }
}

/// An evaluator without results.
#[derive(Debug)]
pub struct Silent;

impl Evaluator for Silent {
    type Config = Options;

    fn new(_config: Options) -> Result<Self> {
        Ok(Self)
    }

    fn run(&mut self, _cx: &Evaluation<'_>) -> Result<Report> {
        Ok(Report { headline: "top1".into(), ..Report::default() })
    }
}
