//! The model, top to bottom.

use std::sync::Arc;

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request, StageSpec,
};
use hssl_plugin_api::nn::{Attention, Conv2d, ConvConfig, DropPath, LayerNorm, LinearInit, Mlp};
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};

use crate::config::{Config, PosEmbedResize, Sizes};
use crate::positions;

const NORM_EPS: f64 = 1e-6;

/// Patch embedding, class token, positions, pre-norm blocks, final norm.
pub struct VisionTransformer {
    sizes: Sizes,
    pos_embed_resize: PosEmbedResize,
    patch_embed: Conv2d,
    cls_token: Tensor,
    pos_embed: Tensor,
    masked_embed: Option<Tensor>,
    blocks: Vec<Arc<Block>>,
    norm: LayerNorm,
}

/// x + attention(norm1 x); x + mlp(norm2 x).
#[derive(Clone)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
}

impl Block {
    fn new(sizes: &Sizes, init: LinearInit, params: &Params<'_>) -> Result<Self> {
        let Sizes { width, heads, hidden, .. } = *sizes;
        Ok(Self {
            norm1: LayerNorm::new(width, NORM_EPS, &params.pp("norm1"))?,
            attn: Attention::with_init(width, heads, init, &params.pp("attn"))?,
            norm2: LayerNorm::new(width, NORM_EPS, &params.pp("norm2"))?,
            mlp: Mlp::with_init(width, hidden, init, &params.pp("mlp"))?,
            drop_path: DropPath::default(),
        })
    }

    fn forward(&self, x: &Tensor, attention: bool) -> Result<(Tensor, Option<Tensor>)> {
        let (mixed, weights) = self.attn.forward(&self.norm1.forward(x)?, attention)?;
        let x = self.drop_path.add(x, &mixed)?;
        let x = self.drop_path.add(&x, &self.mlp.forward(&self.norm2.forward(&x)?)?)?;
        Ok((x, weights))
    }
}

impl VisionTransformer {
    /// Images (B, 3, H, W) to patch embeddings (B, h, w, C).
    fn embed(&self, images: &Tensor, request: &Request) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        let patch = self.sizes.patch;
        if channels != 3 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            refuse!(
                "vit: images of {channels} x {height} x {width}; expected 3 channels and sides that \
                 are multiples of patch_size {patch}"
            );
        }
        let x = self.patch_embed.forward(&images.permute(&[0, 2, 3, 1])?)?;
        let Some(mask) = &request.mask else { return Ok(x) };
        let Some(token) = &self.masked_embed else {
            refuse!("vit: a mask was given, but the model was built without a mask token");
        };
        let (b, h, w, c) = x.dims4()?;
        let mask = mask.0.reshape((b, h, w, 1))?;
        mask.where_cond(&token.reshape((1, 1, 1, c))?, &x)
    }
}

impl Backbone for VisionTransformer {
    type Config = Config;

    fn new(config: Config, setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let width = sizes.width;
        let blocks = params.pp("blocks");
        let tokens = sizes.grid() * sizes.grid() + 1;
        let init = config.weight_init.linear();
        let (patch_weight, patch_bias) =
            config.weight_init.patch_embed(3 * sizes.patch * sizes.patch, width);
        let mask_token = || params.get("masked_embed", &[1, width], Init::ZEROS);
        Ok(Self {
            sizes,
            pos_embed_resize: config.pos_embed_resize,
            cls_token: params.get("cls_token", &[1, 1, width], Init::TRUNC_002)?,
            pos_embed: params.get("pos_embed", &[1, tokens, width], Init::TRUNC_002)?,
            patch_embed: Conv2d::with_init(
                3,
                width,
                ConvConfig::patches(sizes.patch),
                patch_weight,
                patch_bias,
                &params.pp("patch_embed").pp("proj"),
            )?,
            masked_embed: setup.mask_token.then(mask_token).transpose()?,
            blocks: (0..sizes.depth)
                .map(|i| Block::new(&sizes, init, &blocks.pp(i)).map(Arc::new))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(width, NORM_EPS, &params.pp("norm"))?,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![
            Capability::MaskReplace,
            Capability::Attention,
            Capability::AnySize,
            Capability::ClassToken,
            Capability::Layers,
            Capability::Stages,
        ]
    }

    fn spec(&self) -> BackboneSpec {
        BackboneSpec {
            width: self.sizes.width,
            blocks: self.sizes.depth,
            stages: vec![StageSpec { stride: self.sizes.patch, width: self.sizes.width }],
            image_size: self.sizes.image,
        }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            Arc::make_mut(block).drop_path = DropPath::new(*rate);
        }
    }

    fn adapt_weight(&self, name: &str, weight: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
        if name != "pos_embed" || weight.dim(-1)? != self.sizes.width {
            return Ok(None);
        }
        let tokens = weight.dim(1)?;
        let side = ((tokens.max(1) - 1) as f64).sqrt().round() as usize;
        if side * side + 1 != tokens || shape != [1, self.sizes.grid().pow(2) + 1, self.sizes.width]
        {
            return Ok(None);
        }
        let grid = [self.sizes.grid(); 2];
        positions::for_grid(weight, side, grid, PosEmbedResize::Timm, false).map(Some)
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let x = self.embed(images, request)?;
        let (b, h, w, c) = x.dims4()?;
        let positions = positions::for_grid(
            &self.pos_embed,
            self.sizes.grid(),
            [h, w],
            self.pos_embed_resize,
            request.training,
        )?;
        let cls_token = self.cls_token.broadcast_to((b, 1, c))?;
        let mut x = Tensor::cat(&[&cls_token, &x.reshape((b, h * w, c))?], 1)?.add(&positions)?;

        let (mut attention, mut layers) = (None, Vec::new());
        let last = self.blocks.len() - 1;
        for (i, block) in self.blocks.iter().enumerate() {
            let with_attention = request.attention && i == last;
            let block = Arc::clone(block);
            let mut outputs = cx.checkpoint(&[&x], move |inputs| {
                let (x, attention) = block.forward(&inputs[0], with_attention)?;
                Ok(std::iter::once(x).chain(attention).collect())
            })?;
            attention = outputs.split_off(1).pop();
            x = outputs.remove(0);
            if i + request.layers > last {
                layers.push(self.norm.forward(&x.narrow(1, 0, 1)?)?.reshape((b, c))?);
            }
        }

        let map = |x: &Tensor| x.narrow(1, 1, h * w)?.reshape((b, h, w, c));
        let normed = self.norm.forward(&x)?;
        let map_out = map(&normed)?;
        Ok(Features {
            image: normed.index(1, 0)?,
            stages: if request.stages { vec![map_out.clone()] } else { Vec::new() },
            map: map_out,
            pre_norm: Some(map(&x)?),
            attention,
            layers,
        })
    }
}
