//! The smallest working plugin: a backbone of one patch embedding and a head of one residual MLP.

use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Features, HeadInput, HeadSpec, Request, StageSpec,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, DropPath, LayerNorm, Mlp};
use hssl_plugin_api::{Backbone, Context, Head, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "minimal",
    backbone "minimal": Patches, "One patch embedding";
    head "minimal": ResidualMlp, "One residual MLP";
}

/// Options of the backbone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatchesConfig {
    /// Pixels per patch.
    patch_size: usize,
    /// Pixels per side of a global crop.
    img_size: usize,
    /// Channels.
    width: usize,
}

impl Default for PatchesConfig {
    fn default() -> Self {
        Self { patch_size: 8, img_size: 32, width: 16 }
    }
}

/// Patches to vectors, and their mean.
#[derive(Debug)]
pub struct Patches {
    embedding: Conv2d,
    norm: LayerNorm,
    patch_size: usize,
    image_size: usize,
    width: usize,
}

impl Backbone for Patches {
    type Config = PatchesConfig;

    fn new(config: Self::Config, _setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let PatchesConfig { patch_size, img_size, width } = config;
        if patch_size == 0 || width == 0 || !img_size.is_multiple_of(patch_size) {
            refuse!("img_size {img_size} is not a multiple of patch_size {patch_size}");
        }
        Ok(Self {
            embedding: Conv2d::new(3, width, ConvConfig::patches(patch_size), &params.pp("proj"))?,
            norm: LayerNorm::new(width, 1e-6, &params.pp("norm"))?,
            patch_size,
            image_size: img_size,
            width,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::AnySize]
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: self.width,
            blocks: 0,
            stages: vec![StageSpec { stride: self.patch_size, width: self.width }],
            image_size: self.image_size,
        }
    }

    fn set_drop_path(&mut self, _rates: &[f64]) {}

    fn forward(&self, _cx: &Context<'_>, images: &Tensor, _request: &Request) -> Result<Features> {
        // (B, 3, H, W) -> (B, H, W, 3) -> (B, H/p, W/p, C)
        let pre_norm = self.embedding.forward(&images.permute(&[0, 2, 3, 1])?)?;
        let map = self.norm.forward(&pre_norm)?;
        let image = map.mean(&[1, 2], false)?;
        Ok(Features { pre_norm: Some(pre_norm), ..Features::new(image, map) })
    }
}

/// Options of the head.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualMlpConfig {
    /// Hidden width as a multiple of the width.
    mlp_ratio: usize,
}

impl Default for ResidualMlpConfig {
    fn default() -> Self {
        Self { mlp_ratio: 2 }
    }
}

/// x + MLP(norm(x)) at each position.
#[derive(Debug)]
pub struct ResidualMlp {
    norm: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
    width: usize,
}

impl Head for ResidualMlp {
    type Config = ResidualMlpConfig;

    fn new(config: Self::Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let width = input.width;
        Ok(Self {
            norm: LayerNorm::new(width, 1e-6, &params.pp("norm"))?,
            mlp: Mlp::new(width, width * config.mlp_ratio, &params.pp("mlp"))?,
            drop_path: DropPath::default(),
            width,
        })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: 1, fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.drop_path = DropPath::new(rates.first().copied().unwrap_or(0.0));
    }

    fn forward(&self, _cx: &Context<'_>, map: &Tensor, _training: bool) -> Result<Tensor> {
        self.drop_path.add(map, &self.mlp.forward(&self.norm.forward(map)?)?)
    }
}
