//! The model, top to bottom.

use std::sync::Arc;

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request, StageSpec,
};
use hssl_plugin_api::nn::{Conv2d, ConvConfig, LayerNorm, Linear};
use hssl_plugin_api::{Context, Init, Params, ResizeMode, Result, Tensor, refuse};

use crate::block::{Block, BlockConfig};
use crate::config::{Config, Sizes, StageSizes};
use crate::window::{Padding, Windows};

/// Patch embedding, stages with merging of patches between them, final norm.
pub struct SwinTransformer {
    sizes: Sizes,
    patch_embed: PatchEmbed,
    masked_embed: Option<Tensor>,
    stages: Vec<Stage>,
    norm: LayerNorm,
}

/// Patches to vectors, normalised.
struct PatchEmbed {
    proj: Conv2d,
    norm: LayerNorm,
}

/// Halves the map, if it is not the first stage; then blocks, every other one shifted.
struct Stage {
    downsample: Option<PatchMerging>,
    blocks: Vec<Arc<Block>>,
}

/// Four neighbours to one vector of twice the width.
struct PatchMerging {
    norm: LayerNorm,
    reduction: Linear,
}

impl PatchMerging {
    fn new(width: usize, ln_eps: f64, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            norm: LayerNorm::new(4 * width, ln_eps, &params.pp("norm"))?,
            reduction: Linear::no_bias(4 * width, 2 * width, &params.pp("reduction"))?,
        })
    }

    /// (B, H, W, C) to (B, H/2, W/2, 2C), rounded up. Neighbours come in the order (0, 0), (1, 0),
    /// (0, 1), (1, 1) of row and column.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let x = x.pad(&[0, 0, 0, h % 2, 0, w % 2, 0, 0], 0.0)?;
        let (h, w) = (h.div_ceil(2), w.div_ceil(2));
        let x = x.reshape((b, h, 2, w, 2, c))?.permute(&[0, 1, 3, 4, 2, 5])?;
        self.reduction.forward(&self.norm.forward(&x.reshape((b, h, w, 4 * c))?)?)
    }
}

impl Stage {
    /// `before`: width of the stage before.
    fn new(
        sizes: &Sizes,
        stage: &StageSizes,
        before: Option<usize>,
        padding: Padding,
        params: &Params<'_>,
    ) -> Result<Self> {
        let downsample = params.pp("downsample");
        let downsample = before.map(|width| PatchMerging::new(width, sizes.ln_eps, &downsample));
        let config = BlockConfig {
            width: stage.width,
            heads: stage.heads,
            hidden: stage.hidden,
            ln_eps: sizes.ln_eps,
            layer_scale: 0.0,
            windows: Some(Arc::new(Windows::new(sizes.window, [stage.grid; 2], padding, params)?)),
            shifted: false,
            mlp: true,
            first_shortcut: true,
            second_shortcut: true,
        };
        let blocks = params.pp("blocks");
        let block = |i: usize| {
            let config = BlockConfig { shifted: !i.is_multiple_of(2), ..config.clone() };
            Block::new(&config, &blocks.pp(i)).map(Arc::new)
        };
        let blocks = (0..stage.depth).map(block);
        Ok(Self { downsample: downsample.transpose()?, blocks: blocks.collect::<Result<_>>()? })
    }
}

impl SwinTransformer {
    /// Images (B, 3, H, W) to patch embeddings (B, h, w, C).
    fn embed(&self, images: &Tensor, request: &Request) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        let patch = self.sizes.patch;
        if channels != 3 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            refuse!(
                "swin: images of {channels} x {height} x {width}; expected 3 channels and sides \
                 that are multiples of patch_size {patch}"
            );
        }
        let x = self.patch_embed.proj.forward(&images.permute(&[0, 2, 3, 1])?)?;
        let x = self.patch_embed.norm.forward(&x)?;
        let Some(mask) = &request.mask else { return Ok(x) };
        let Some(token) = &self.masked_embed else {
            refuse!("swin: a mask was given, but the model was built without a mask token");
        };
        self.finest(&mask.0, &x)?.where_cond(token, &x)
    }

    /// A mask (B, N) of the last stage's cells, repeated for the patches `x` (B, h, w, C) that each
    /// covers: (B, h, w, 1).
    fn finest(&self, mask: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, _) = x.dims4()?;
        let side = self.sizes.last().stride / self.sizes.patch;
        let (rows, columns) = (h.div_ceil(side), w.div_ceil(side));
        let mask = mask.reshape((b, rows, 1, columns, 1))?;
        mask.broadcast_to((b, rows, side, columns, side))?
            .reshape((b, rows * side, columns * side, 1))?
            .narrow(1, 0, h)?
            .narrow(2, 0, w)
    }
}

impl Backbone for SwinTransformer {
    type Config = Config;

    fn new(config: Config, setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let (first, last) = (&sizes.stages[0], sizes.last());
        let embed = params.pp("patch_embed");
        let patches = ConvConfig::patches(sizes.patch);
        let mask_token = || params.get("masked_embed", &[1, first.width], Init::ZEROS);
        let layers = params.pp("layers");
        let stage = |(i, stage): (usize, &StageSizes)| {
            let before = i.checked_sub(1).map(|i| sizes.stages[i].width);
            Stage::new(&sizes, stage, before, config.padding, &layers.pp(i))
        };
        Ok(Self {
            patch_embed: PatchEmbed {
                proj: Conv2d::new(3, first.width, patches, &embed.pp("proj"))?,
                norm: LayerNorm::new(first.width, sizes.ln_eps, &embed.pp("norm"))?,
            },
            masked_embed: setup.mask_token.then(mask_token).transpose()?,
            stages: sizes.stages.iter().enumerate().map(stage).collect::<Result<_>>()?,
            norm: LayerNorm::new(last.width, sizes.ln_eps, &params.pp("norm"))?,
            sizes,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::MaskReplace, Capability::AnySize, Capability::Layers, Capability::Stages]
    }

    fn spec(&self) -> BackboneSpec {
        let stage = |stage: &StageSizes| StageSpec { stride: stage.stride, width: stage.width };
        BackboneSpec {
            width: self.sizes.last().width,
            blocks: self.sizes.blocks(),
            stages: self.sizes.stages.iter().map(stage).collect(),
            image_size: self.sizes.image,
        }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        let blocks = self.stages.iter_mut().flat_map(|stage| &mut stage.blocks);
        for (block, rate) in blocks.zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    /// Bias tables of another window are resized, as the original program does.
    fn adapt_weight(&self, name: &str, weight: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
        let (&[offsets, heads], &[to, to_heads]) = (weight.dims().as_slice(), shape) else {
            return Ok(None);
        };
        let (side, to_side) = (offsets.isqrt(), to.isqrt());
        let squares = side * side == offsets && to_side * to_side == to;
        if !name.ends_with("relative_position_bias_table") || heads != to_heads || !squares {
            return Ok(None);
        }
        let table = weight.reshape((1, side, side, heads))?;
        let table = table.resize([to_side; 2], ResizeMode::Bicubic, false)?;
        table.reshape((to, heads)).map(Some)
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let mut x = self.embed(images, request)?;
        let (mut layers, mut stages) = (Vec::new(), Vec::new());
        let (total, last) = (self.sizes.blocks(), self.stages.len() - 1);
        let mut done = 0;
        for (i, stage) in self.stages.iter().enumerate() {
            if let Some(downsample) = &stage.downsample {
                x = downsample.forward(&x)?;
            }
            for block in &stage.blocks {
                let block = Arc::clone(block);
                x = cx.block(&x, move |x| block.forward(x))?;
                done += 1;
                if done + request.layers > total {
                    // The final norm has the width of the last stage alone.
                    let norm =
                        |x: &Tensor| if i == last { self.norm.forward(x) } else { Ok(x.clone()) };
                    layers.push(request.layer(&x, norm)?.mean(&[1, 2], false)?);
                }
            }
            if request.stages && i < last {
                stages.push(x.clone());
            }
        }
        let map = self.norm.forward(&x)?;
        if request.stages {
            stages.push(map.clone());
        }
        let image = map.mean(&[1, 2], false)?;
        Ok(Features { pre_norm: Some(x), layers, stages, ..Features::new(image, map) })
    }
}
