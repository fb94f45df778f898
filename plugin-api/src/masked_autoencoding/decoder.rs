//! From the latent of the kept patches to all patches.

use super::{Dropping, Options};
use crate::nn::{
    Blocks, FirstAxis, LayerNorm, Linear, LinearInit, TransformerBlock, TransformerBlockConfig,
    sin_cos_positions,
};
use crate::{Context, Init, Params, Result, Tensor};

/// A narrow Vision Transformer that sees a learned token wherever a patch was dropped.
#[derive(Debug)]
pub(super) struct Decoder {
    embed: Linear,
    mask_token: Tensor,
    blocks: Blocks<TransformerBlock>,
    norm: LayerNorm,
    pred: Linear,
    width: usize,
    /// Those of the last grid, (1, h w, D).
    positions: Option<([usize; 2], Tensor)>,
}

/// A dense layer that starts as the papers' do.
pub(super) fn linear(inputs: usize, outputs: usize, params: &Params<'_>) -> Result<Linear> {
    let weight = LinearInit::XavierUniform.weight(inputs, outputs);
    Linear::with_init(inputs, outputs, weight, Some(Init::ZEROS), params)
}

/// A learned token (C).
pub(super) fn token(name: &str, width: usize, params: &Params<'_>) -> Result<Tensor> {
    params.get(name, &[1, 1, width], Init::Normal { mean: 0.0, std: 0.02 })
}

impl Decoder {
    /// For latents of `input` channels and patches of `pixels` values.
    pub fn new(
        options: &Options,
        input: usize,
        pixels: usize,
        params: &Params<'_>,
    ) -> Result<Self> {
        let (width, heads) = (options.decoder_embed_dim, options.decoder_num_heads);
        let block = TransformerBlockConfig::plain(width, heads, LinearInit::XavierUniform);
        let blocks = params.pp("blocks");
        let block = |i: usize| TransformerBlock::new(&block, &blocks.pp(i));
        Ok(Self {
            embed: linear(input, width, &params.pp("embed"))?,
            mask_token: token("mask_token", width, params)?,
            blocks: Blocks::new(options.decoder_depth, block)?,
            norm: LayerNorm::new(width, TransformerBlock::NORM_EPS, &params.pp("norm"))?,
            pred: linear(width, pixels, &params.pp("pred"))?,
            width,
            positions: None,
        })
    }

    /// The latent (B, P + K, C) of kept patches, behind a class token where there is one, to what the
    /// decoder knows of all patches, (B, N, D).
    pub fn forward(
        &mut self,
        cx: &Context<'_>,
        latent: &Tensor,
        dropping: &Dropping,
        grid: [usize; 2],
    ) -> Result<Tensor> {
        let x = self.embed.forward(latent)?;
        let prefix = x.dim(1)? - dropping.keep();
        let kept = x.narrow(1, prefix, dropping.keep())?;
        let patches = dropping.fill(cx, &kept, &self.mask_token)?;
        let patches = patches.add(&self.positions(cx, grid)?)?;
        let x = match prefix {
            0 => patches,
            _ => Tensor::cat(&[&x.narrow(1, 0, prefix)?, &patches], 1)?,
        };
        let x = self.norm.forward(&self.blocks.forward(cx, &x)?)?;
        x.narrow(1, prefix, grid[0] * grid[1])
    }

    /// (B, N, D) to the pixels of each patch.
    pub fn pixels(&self, decoded: &Tensor) -> Result<Tensor> {
        self.pred.forward(decoded)
    }

    fn positions(&mut self, cx: &Context<'_>, grid: [usize; 2]) -> Result<Tensor> {
        if let Some((of, positions)) = &self.positions
            && *of == grid
        {
            return Ok(positions.clone());
        }
        let positions = sin_cos_positions(grid, self.width, FirstAxis::Columns);
        let positions: Vec<f32> = positions.into_iter().map(|x| x as f32).collect();
        let positions = cx.tensor(&positions, (1, grid[0] * grid[1], self.width))?;
        self.positions = Some((grid, positions.clone()));
        Ok(positions)
    }
}
