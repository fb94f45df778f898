//! The model, top to bottom.

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, GroupNorm, LayerNorm, Pyramid};
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};

use crate::block::{Block, BlockConfig, NORM_EPS, Pooling};
use crate::config::{Config, FinalNorm, STEM_STRIDE, Sizes};

/// Side of the images that the published sizes were trained on.
const IMAGE_SIZE: usize = 224;
/// Epsilon of the final norm where it is a layer norm.
const LAYER_NORM_EPS: f64 = 1e-6;

/// The stages of a PoolFormer: each downsampling is a convolution.
pub type Stages = Pyramid<Conv2d, Block>;

/// A strided convolution, stages, a norm.
pub struct PoolFormer {
    sizes: Sizes,
    stem: Conv2d,
    stages: Stages,
    norm: Norm,
}

/// The norm after the last stage.
enum Norm {
    Group(GroupNorm),
    Layer(LayerNorm),
}

impl Norm {
    fn new(kind: FinalNorm, width: usize, params: &Params<'_>) -> Result<Self> {
        Ok(match kind {
            FinalNorm::GroupNorm => Self::Group(GroupNorm::new(1, width, NORM_EPS, params)?),
            FinalNorm::LayerNorm => Self::Layer(LayerNorm::new(width, LAYER_NORM_EPS, params)?),
        })
    }

    /// The vector (B, C) and the map (B, H, W, C) of a map (B, H, W, C) of the last stage.
    fn forward(&self, map: &Tensor) -> Result<(Tensor, Tensor)> {
        match self {
            Self::Group(norm) => {
                let map = norm.forward(map)?;
                Ok((mean(&map)?, map))
            }
            Self::Layer(norm) => Ok((norm.forward(&mean(map)?)?, norm.forward(map)?)),
        }
    }
}

/// Over positions: (B, H, W, C) to (B, C).
fn mean(map: &Tensor) -> Result<Tensor> {
    map.mean(&[1, 2], false)
}

impl PoolFormer {
    /// Images (B, 3, H, W) to the first stage's input (B, H/4, W/4, C).
    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        // Later stages halve a side of any length, rounding up.
        let fits = |side: usize| side > 0 && side.is_multiple_of(STEM_STRIDE);
        if channels != 3 || !fits(height) || !fits(width) {
            refuse!(
                "poolformer: images of {channels} x {height} x {width}; expected 3 channels and sides \
                 that are multiples of {STEM_STRIDE}"
            );
        }
        self.stem.forward(&images.permute(&[0, 2, 3, 1])?)
    }
}

impl Backbone for PoolFormer {
    type Config = Config;

    fn new(config: Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let dims = &sizes.dims;
        let pooling = Pooling::new("poolformer", config.pool_size, true)?;
        let stage = |i: usize| params.pp("stages").pp(i);
        let downsample = |i: usize| {
            let config = ConvConfig { stride: 2, padding: 1, ..ConvConfig::new(3) };
            Conv2d::new(dims[i - 1], dims[i], config, &stage(i).pp("downsample").pp("conv"))
        };
        let block = |i: usize, j: usize| {
            let config = BlockConfig {
                width: dims[i],
                layer_scale: sizes.layer_scale,
                shortcuts: (true, true),
                pooling: Some(pooling),
                mlp: true,
            };
            Block::new(&config, &stage(i).pp("blocks").pp(j))
        };
        let stem = ConvConfig { stride: STEM_STRIDE, padding: 2, ..ConvConfig::new(7) };
        Ok(Self {
            stem: Conv2d::new(3, dims[0], stem, &params.pp("stem").pp("conv"))?,
            stages: Stages::new(&sizes.depths, downsample, block)?,
            norm: Norm::new(config.final_norm, sizes.width(), &params.pp("head").pp("norm"))?,
            sizes,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::AnySize, Capability::Layers, Capability::Stages]
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: self.sizes.width(),
            blocks: self.stages.blocks(),
            stages: self.sizes.stages(),
            image_size: IMAGE_SIZE.next_multiple_of(self.sizes.stride()),
        }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.stages.set_drop_path(rates);
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let x = self.embed(images)?;
        let output = self.stages.forward(cx, &x, request, Conv2d::forward)?;
        let (image, map) = self.norm.forward(&output.map)?;
        let layer = |(map, is_last_stage): &(Tensor, bool)| {
            if *is_last_stage && !request.layers_before_norm {
                Ok(self.norm.forward(map)?.0)
            } else {
                mean(map)
            }
        };
        Ok(Features {
            image,
            map,
            attention: None,
            layers: output.layers.iter().map(layer).collect::<Result<_>>()?,
            stages: output.stages,
            pre_norm: Some(output.map),
        })
    }
}
