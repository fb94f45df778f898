//! The block of Vision Transformers, with timm's parameter names.

use crate::nn::{Attention, Block, LayerNorm, LayerScale, LinearInit, Mlp, Residual};
use crate::{Params, Result, Tensor};

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct TransformerBlockConfig {
    /// Width C.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
    /// How the linears start.
    pub init: LinearInit,
    /// Whether attention is there, and its shortcut.
    pub attention: BlockPart,
    /// Whether the MLP is there, and its shortcut.
    pub mlp: BlockPart,
}

impl TransformerBlockConfig {
    /// Both parts with their shortcuts, an MLP of four times the width, and no layer scales.
    pub fn plain(width: usize, heads: usize, init: LinearInit) -> Self {
        let (attention, mlp) = (BlockPart::Residual, BlockPart::Residual);
        Self { width, heads, hidden: 4 * width, layer_scale: 0.0, init, attention, mlp }
    }
}

/// What a block has of one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPart {
    /// The part and the shortcut around it.
    Residual,
    /// The part alone.
    Plain,
    /// Nothing.
    Absent,
}

impl BlockPart {
    /// A part that is there, with or without its shortcut.
    pub fn with_shortcut(kept: bool) -> Self {
        if kept { Self::Residual } else { Self::Plain }
    }
}

/// x + ls1 attention(norm1 x); x + ls2 mlp(norm2 x). Layer scales, a part or a shortcut may be missing.
#[derive(Clone, Debug)]
pub struct TransformerBlock {
    attention: Option<Residual<LayerNorm, Attention>>,
    mlp: Option<Residual<LayerNorm, Mlp>>,
}

impl TransformerBlock {
    /// Epsilon of its layer norms.
    pub const NORM_EPS: f64 = 1e-6;

    /// `norm1`, `attn`, `ls1`, `norm2`, `mlp`, `ls2`.
    pub fn new(config: &TransformerBlockConfig, params: &Params<'_>) -> Result<Self> {
        let TransformerBlockConfig { width, heads, hidden, init, .. } = *config;
        let residual = |number: usize, part: BlockPart| -> Result<_> {
            let norm = LayerNorm::new(width, Self::NORM_EPS, &params.pp(format!("norm{number}")))?;
            let scale = params.pp(format!("ls{number}"));
            let scale = LayerScale::new("gamma", width, config.layer_scale, &scale)?;
            Ok((norm, scale, part == BlockPart::Residual))
        };
        let attention = || -> Result<_> {
            let (norm, scale, shortcut) = residual(1, config.attention)?;
            let layer = Attention::with_init(width, heads, init, &params.pp("attn"))?;
            Ok(Residual::new(norm, layer, scale, shortcut))
        };
        let mlp = || -> Result<_> {
            let (norm, scale, shortcut) = residual(2, config.mlp)?;
            let layer = Mlp::with_init(width, hidden, init, &params.pp("mlp"))?;
            Ok(Residual::new(norm, layer, scale, shortcut))
        };
        Ok(Self {
            attention: (config.attention != BlockPart::Absent).then(attention).transpose()?,
            mlp: (config.mlp != BlockPart::Absent).then(mlp).transpose()?,
        })
    }

    /// (B, N, C) to (B, N, C), with the attention (B, heads, N, N) if it is asked for.
    pub fn forward_with_attention(
        &self,
        x: &Tensor,
        attention: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (mut x, mut weights) = (x.clone(), None);
        if let Some(mixer) = &self.attention {
            let (y, found) = mixer.layer.forward(&mixer.norm.forward(&x)?, attention)?;
            (x, weights) = (mixer.join(&x, y)?, found);
        }
        if let Some(mlp) = &self.mlp {
            x = mlp.join(&x, mlp.layer.forward(&mlp.norm.forward(&x)?)?)?;
        }
        Ok((x, weights))
    }
}

impl Block for TransformerBlock {
    /// Of both parts.
    fn set_drop_path(&mut self, rate: f64) {
        self.attention.iter_mut().for_each(|attention| attention.set_drop_path(rate));
        self.mlp.iter_mut().for_each(|mlp| mlp.set_drop_path(rate));
    }

    /// Tokens (B, N, C).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward_with_attention(x, false)?.0)
    }
}
