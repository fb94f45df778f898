//! The model, top to bottom.

use std::sync::Arc;

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, KeptRequest, Request, StageSpec,
    Tokens,
};
use hssl_plugin_api::nn::{
    Block, BlockPart, Conv2d, ConvConfig, LayerNorm, TransformerBlock, TransformerBlockConfig,
};
use hssl_plugin_api::{Context, DType, Init, Params, Result, Tensor, refuse};

use crate::config::{Config, PosEmbedResize, Sizes};
use crate::positions;

/// Patch embedding, class and register tokens, positions, pre-norm blocks, final norm.
pub struct VisionTransformer {
    sizes: Sizes,
    pos_embed_resize: PosEmbedResize,
    patch_embed: Conv2d,
    cls_token: Tensor,
    reg_token: Option<Tensor>,
    pos_embed: Tensor,
    masked_embed: Option<Tensor>,
    blocks: Vec<Arc<TransformerBlock>>,
    norm: LayerNorm,
}

impl VisionTransformer {
    /// Images (B, 3, H, W) to patch embeddings (B, h, w, C).
    fn embed(&self, images: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        let patch = self.sizes.patch;
        if channels != 3 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            refuse!(
                "vit: images of {channels} x {height} x {width}; expected 3 channels and sides that \
                 are multiples of patch_size {patch}"
            );
        }
        let x = self.patch_embed.forward(&images.permute(&[0, 2, 3, 1])?)?;
        let Some(mask) = mask else { return Ok(x) };
        let Some(token) = &self.masked_embed else {
            refuse!("vit: a mask was given, but the model was built without a mask token");
        };
        let (b, h, w, c) = x.dims4()?;
        let mask = mask.reshape((b, h, w, 1))?;
        mask.where_cond(&token.reshape((1, 1, 1, c))?, &x)
    }

    /// Patch embeddings (B, h, w, C) to tokens (B, N, C): class, registers, patches, with positions.
    fn tokens(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let Sizes { prefix, placed, .. } = self.sizes;
        let (built, resize) = (self.sizes.grid(), self.pos_embed_resize);
        let positions =
            positions::for_grid(&self.pos_embed, placed, built, [h, w], resize, training)?;
        let class = self.cls_token.broadcast_to((b, 1, c))?;
        let registers = |token: &Tensor| token.broadcast_to((b, prefix - 1, c));
        let registers = self.reg_token.as_ref().map(registers).transpose()?;
        let mut patches = x.reshape((b, h * w, c))?;
        if placed == 0 {
            patches = patches.add(&positions)?;
        }
        let parts: Vec<&Tensor> =
            std::iter::once(&class).chain(&registers).chain([&patches]).collect();
        let tokens = Tensor::cat(&parts, 1)?;
        if placed == 0 { Ok(tokens) } else { tokens.add(&positions) }
    }
}

/// The K patches that `kept` (B, K) names, of tokens (B, P + N, C): (B, P + K, C).
fn keep(tokens: &Tensor, kept: &Tensor, prefix: usize) -> Result<Tensor> {
    let ((b, n, c), (images, k)) = (tokens.dims3()?, kept.dims2()?);
    if images != b || k == 0 || kept.dtype() != DType::I64 {
        refuse!(
            "vit: kept patches of the shape {:?} and type {:?} for {b} images; expected (images, patches) \
             of i64, at least one patch each",
            kept.dims(),
            kept.dtype()
        );
    }
    // (B, K) positions among an image's tokens to rows among all.
    let offsets = |i: usize| (0..k).map(move |_| (i * n + prefix) as i64);
    let offsets: Vec<i64> = (0..b).flat_map(offsets).collect();
    let rows = kept.add(&Tensor::from_slice(tokens.host(), &offsets, (b, k))?)?;
    let patches = tokens.reshape((b * n, c))?.index_select(&rows.reshape(b * k)?, 0)?;
    Tensor::cat(&[&tokens.narrow(1, 0, prefix)?, &patches.reshape((b, k, c))?], 1)
}

impl Backbone for VisionTransformer {
    type Config = Config;

    fn new(config: Config, setup: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let width = sizes.width;
        let blocks = params.pp("blocks");
        let block = TransformerBlockConfig {
            width,
            heads: sizes.heads,
            hidden: sizes.hidden,
            layer_scale: config.layer_scale,
            init: config.weight_init.linear(),
            attention: BlockPart::Residual,
            mlp: BlockPart::Residual,
        };
        let (patch_weight, patch_bias) =
            config.weight_init.patch_embed(3 * sizes.patch * sizes.patch, width);
        let registers = config.reg_tokens;
        let reg_token = || {
            // Registers start as one (DINOv2, timm).
            let init = Init::Normal { mean: 0.0, std: 1e-6 };
            params.get("reg_token", &[1, registers, width], init)
        };
        let positions = [1, sizes.positions(), width];
        let pos_embed = match config.pos_embed.fixed() {
            None => params.get("pos_embed", &positions, Init::TRUNC_002)?,
            Some(first) => {
                params.buffer("pos_embed", &positions, positions::fixed(&sizes, first))?
            }
        };
        let patch_embed = params.pp("patch_embed").pp("proj");
        let frozen = config.freeze_patch_embed;
        let patch_embed = if frozen { patch_embed.frozen() } else { patch_embed };
        let mask_token = || params.get("masked_embed", &[1, width], Init::ZEROS);
        Ok(Self {
            sizes,
            pos_embed_resize: config.pos_embed_resize,
            cls_token: params.get("cls_token", &[1, 1, width], Init::TRUNC_002)?,
            reg_token: (registers > 0).then(reg_token).transpose()?,
            pos_embed,
            patch_embed: Conv2d::with_init(
                3,
                width,
                ConvConfig::patches(sizes.patch),
                patch_weight,
                patch_bias,
                &patch_embed,
            )?,
            masked_embed: setup.mask_token.then(mask_token).transpose()?,
            blocks: (0..sizes.depth)
                .map(|i| TransformerBlock::new(&block, &blocks.pp(i)).map(Arc::new))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(width, TransformerBlock::NORM_EPS, &params.pp("norm"))?,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![
            Capability::MaskReplace,
            Capability::DropTokens,
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
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    fn adapt_weight(&self, name: &str, weight: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
        if name != "pos_embed" || weight.dim(-1)? != self.sizes.width {
            return Ok(None);
        }
        let (placed, tokens) = (self.sizes.placed, weight.dim(1)?);
        let side = (tokens.saturating_sub(placed) as f64).sqrt().round() as usize;
        if side * side + placed != tokens || shape != [1, self.sizes.positions(), self.sizes.width]
        {
            return Ok(None);
        }
        let grid = [self.sizes.grid(); 2];
        positions::for_grid(weight, placed, side, grid, PosEmbedResize::Timm, false).map(Some)
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let x = self.embed(images, request.mask.as_ref().map(|mask| &mask.0))?;
        let (b, h, w, c) = x.dims4()?;
        let mut x = self.tokens(&x, request.training)?;

        let (mut attention, mut layers) = (None, Vec::new());
        let last = self.blocks.len() - 1;
        for (i, block) in self.blocks.iter().enumerate() {
            let with_attention = request.attention && i == last;
            let block = Arc::clone(block);
            let mut outputs = cx.checkpoint(&[&x], move |inputs| {
                let (x, attention) = block.forward_with_attention(&inputs[0], with_attention)?;
                Ok(std::iter::once(x).chain(attention).collect())
            })?;
            attention = outputs.split_off(1).pop();
            x = outputs.remove(0);
            if i + request.layers > last {
                let class = x.narrow(1, 0, 1)?;
                let class = request.layer(&class, |class| self.norm.forward(class))?;
                layers.push(class.reshape((b, c))?);
            }
        }

        let map = |x: &Tensor| x.narrow(1, self.sizes.prefix, h * w)?.reshape((b, h, w, c));
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
    fn forward_kept(
        &self,
        cx: &Context<'_>,
        images: &Tensor,
        kept: &Tensor,
        request: &KeptRequest,
    ) -> Result<Tokens> {
        if let Some(beyond) = request.layers.iter().find(|layer| **layer >= self.blocks.len()) {
            refuse!(
                "vit: the output of block {beyond} was asked for, and there are {} blocks, counted from 0",
                self.blocks.len()
            );
        }
        let prefix = self.sizes.prefix;
        let x = self.tokens(&self.embed(images, None)?, request.training)?;
        let mut x = keep(&x, kept, prefix)?;
        let mut outputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let block = Arc::clone(block);
            x = cx.block(&x, move |x| block.forward(x))?;
            outputs.push(x.clone());
        }
        // The class token alone is told to others; the registers behind it belong to the network.
        let told = |x: &Tensor| -> Result<Tensor> {
            let patches = x.narrow(1, prefix, x.dim(1)? - prefix)?;
            Tensor::cat(&[&x.narrow(1, 0, 1)?, &patches], 1)
        };
        let told = |x: &Tensor| if prefix == 1 { Ok(x.clone()) } else { told(x) };
        let pre_norm = told(&x)?;
        Ok(Tokens {
            normed: self.norm.forward(&pre_norm)?,
            pre_norm,
            layers: request.layers.iter().map(|i| told(&outputs[*i])).collect::<Result<_>>()?,
        })
    }

    fn norm(&self, tokens: &Tensor) -> Result<Tensor> {
        self.norm.forward(tokens)
    }
}
