//! A backbone: patches, residual MLPs, a norm. Replace the layers by your architecture's.

use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, Capability, Features, Request, StageSpec,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, DropPath, LayerNorm, Mlp};
use hssl_plugin_api::{Backbone, Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "my_plugin",
    backbone "my_plugin": MyPlugin, "Patches and residual MLPs";
}

/// Options: the keys of `[backbone]` in a configuration. Their descriptions are shown to users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Pixels per side of a global crop.
    img_size: usize,
    /// Pixels per patch.
    patch_size: usize,
    /// Channels.
    embed_dim: usize,
    /// Residual blocks.
    depth: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { img_size: 32, patch_size: 4, embed_dim: 64, depth: 2 }
    }
}

/// x + MLP(norm(x)) at each position.
#[derive(Debug)]
struct Block {
    norm: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
}

/// The backbone.
#[derive(Debug)]
pub struct MyPlugin {
    config: BackboneSpec,
    patch_embed: Conv2d,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Backbone for MyPlugin {
    type Config = Config;

    fn new(config: Config, _setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let Config { img_size, patch_size, embed_dim, depth } = config;
        if patch_size == 0 || embed_dim == 0 || !img_size.is_multiple_of(patch_size) {
            refuse!("img_size {img_size} is not a multiple of patch_size {patch_size}");
        }
        // Parameters are named as timm names them where it has the architecture, so that exported
        // weights load there.
        let patches = ConvConfig::patches(patch_size);
        let block = |i: usize| {
            let params = params.pp("blocks").pp(i);
            Ok(Block {
                norm: LayerNorm::new(embed_dim, 1e-6, &params.pp("norm"))?,
                mlp: Mlp::new(embed_dim, 4 * embed_dim, &params.pp("mlp"))?,
                drop_path: DropPath::default(),
            })
        };
        Ok(Self {
            patch_embed: Conv2d::new(3, embed_dim, patches, &params.pp("patch_embed.proj"))?,
            blocks: (0..depth).map(block).collect::<Result<_>>()?,
            norm: LayerNorm::new(embed_dim, 1e-6, &params.pp("norm"))?,
            config: BackboneSpec {
                width: embed_dim,
                blocks: depth,
                stages: vec![StageSpec { stride: patch_size, width: embed_dim }],
                image_size: img_size,
            },
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::AnySize]
    }

    fn spec(&self) -> BackboneSpec {
        self.config.clone()
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            block.drop_path = DropPath::new(*rate);
        }
    }

    fn forward(&self, _cx: &Context<'_>, images: &Tensor, _request: &Request) -> Result<Features> {
        // (B, 3, H, W) -> (B, H, W, 3) -> (B, H/p, W/p, C): maps are channels-last.
        let mut x = self.patch_embed.forward(&images.permute(&[0, 2, 3, 1])?)?;
        for block in &self.blocks {
            x = block.drop_path.add(&x, &block.mlp.forward(&block.norm.forward(&x)?)?)?;
        }
        let map = self.norm.forward(&x)?;
        let image = map.mean(&[1, 2], false)?;
        // Auxiliary heads take the map before the norm.
        Ok(Features { pre_norm: Some(x), ..Features::new(image, map) })
    }
}
