//! The model, top to bottom.

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request, StageSpec,
};
use hssl_plugin_api::nn::{Blocks, Conv2d, ConvConfig};
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};

use crate::block::{Affine, Block, BlockConfig};
use crate::config::{Config, Sizes};

/// Patches, blocks, a last affine map, and the mean over positions.
pub struct ResMlp {
    sizes: Sizes,
    stem: Conv2d,
    blocks: Blocks<Block>,
    norm: Affine,
}

impl ResMlp {
    /// Images (B, 3, H, W) to patch embeddings (B, h, w, C).
    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        let side = self.sizes.image;
        if channels != 3 || height != side || width != side {
            refuse!(
                "resmlp: images of {channels} x {height} x {width}; expected 3 x {side} x {side}, since \
                 its token mixer is made for one grid: set backbone.img_size, or give all crops that size"
            );
        }
        self.stem.forward(&images.permute(&[0, 2, 3, 1])?)
    }
}

impl Backbone for ResMlp {
    type Config = Config;

    fn new(config: Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let block = BlockConfig {
            width: sizes.width,
            hidden: sizes.hidden,
            grid: [sizes.grid(); 2],
            layer_scale: sizes.layer_scale,
            shortcuts: (true, true),
            token_mixer: true,
            mlp: true,
        };
        let patches = ConvConfig::patches(sizes.patch);
        let blocks = params.pp("blocks");
        Ok(Self {
            sizes,
            stem: Conv2d::new(3, sizes.width, patches, &params.pp("stem").pp("proj"))?,
            blocks: Blocks::new(sizes.depth, |i| Block::new(&block, &blocks.pp(i)))?,
            norm: Affine::new(sizes.width, &params.pp("norm"))?,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::Layers, Capability::Stages]
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: self.sizes.width,
            blocks: self.blocks.len(),
            stages: vec![StageSpec { stride: self.sizes.patch, width: self.sizes.width }],
            image_size: self.sizes.image,
        }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.blocks.set_drop_path(rates);
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let x = self.embed(images)?;
        let (pre_norm, last) = self.blocks.forward_with_last(cx, &x, request.layers)?;
        let map = self.norm.forward(&pre_norm)?;
        let mean = |map: &Tensor| map.mean(&[1, 2], false);
        let layer = |x: &Tensor| mean(&request.layer(x, |x| self.norm.forward(x))?);
        Ok(Features {
            image: mean(&map)?,
            layers: last.iter().map(layer).collect::<Result<_>>()?,
            stages: if request.stages { vec![map.clone()] } else { Vec::new() },
            attention: None,
            pre_norm: Some(pre_norm),
            map,
        })
    }
}
