//! The model, top to bottom.

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, LayerNorm, Pyramid};
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};

use crate::block::{Block, BlockConfig};
use crate::config::{Config, Sizes};

/// Side of the images that the published sizes were trained on.
const IMAGE_SIZE: usize = 224;

/// The stages of a ConvNeXt.
pub type Stages = Pyramid<Downsample, Block>;

/// Patches with their norm, stages, and a norm after the mean over positions.
pub struct ConvNeXt {
    sizes: Sizes,
    stem: (Conv2d, LayerNorm),
    stages: Stages,
    norm: LayerNorm,
}

/// Layer norm, then a convolution of 2x2 with stride 2.
pub struct Downsample {
    norm: LayerNorm,
    conv: Conv2d,
}

impl Downsample {
    fn new(inputs: usize, outputs: usize, ln_eps: f64, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            norm: LayerNorm::new(inputs, ln_eps, &params.pp(0))?,
            conv: patches(inputs, outputs, 2, &params.pp(1))?,
        })
    }

    /// (B, H, W, C) to (B, H/2, W/2, C').
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(&self.norm.forward(x)?)
    }
}

/// A convolution whose windows tile the map.
fn patches(inputs: usize, outputs: usize, size: usize, params: &Params<'_>) -> Result<Conv2d> {
    let config = ConvConfig::patches(size);
    Conv2d::with_init(inputs, outputs, config, Init::TRUNC_002, Init::ZEROS, params)
}

impl ConvNeXt {
    /// Images (B, 3, H, W) to the first stage's input (B, H/patch, W/patch, C).
    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        let stride = self.sizes.stride();
        if channels != 3 || !height.is_multiple_of(stride) || !width.is_multiple_of(stride) {
            refuse!(
                "convnext: images of {channels} x {height} x {width}; expected 3 channels and sides \
                 that are multiples of {stride}, the last stage's stride (patch_size {} and {} stages)",
                self.sizes.patch,
                self.sizes.dims.len()
            );
        }
        let (conv, norm) = &self.stem;
        norm.forward(&conv.forward(&images.permute(&[0, 2, 3, 1])?)?)
    }
}

impl Backbone for ConvNeXt {
    type Config = Config;

    fn new(config: Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(config)?;
        let (dims, ln_eps) = (&sizes.dims, sizes.ln_eps);
        let stem = params.pp("stem");
        let stem = (
            patches(3, dims[0], sizes.patch, &stem.pp(0))?,
            LayerNorm::new(dims[0], ln_eps, &stem.pp(1))?,
        );
        let stage = |i: usize| params.pp("stages").pp(i);
        let downsample =
            |i: usize| Downsample::new(dims[i - 1], dims[i], ln_eps, &stage(i).pp("downsample"));
        let block = |i: usize, j: usize| {
            let config = BlockConfig {
                width: dims[i],
                kernel: sizes.kernel,
                conv_init: (Init::TRUNC_002, Init::ZEROS),
                ln_eps,
                layer_scale: sizes.layer_scale,
                shortcut: true,
                token_mixer: true,
                mlp: true,
                conv_mlp: sizes.conv_mlp,
            };
            Block::new(config, &stage(i).pp("blocks").pp(j))
        };
        let stages = Stages::new(&sizes.depths, downsample, block)?;
        let norm = LayerNorm::new(sizes.width(), ln_eps, &params.pp("head").pp("norm"))?;
        Ok(Self { sizes, stem, stages, norm })
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

    /// The norm comes after the mean over positions, and at each position of the map.
    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let x = self.embed(images)?;
        let output = self.stages.forward(cx, &x, request, Downsample::forward)?;
        let mean = |map: &Tensor| map.mean(&[1, 2], false);
        let layer = |(map, is_last_stage): &(Tensor, bool)| {
            let vector = mean(map)?;
            if *is_last_stage {
                request.layer(&vector, |x| self.norm.forward(x))
            } else {
                Ok(vector)
            }
        };
        Ok(Features {
            image: self.norm.forward(&mean(&output.map)?)?,
            map: self.norm.forward(&output.map)?,
            attention: None,
            layers: output.layers.iter().map(layer).collect::<Result<_>>()?,
            stages: output.stages,
            pre_norm: Some(output.map),
        })
    }
}
