//! The transformer block, of the base and of the head.

use hssl_plugin_api::nn::{Attention, LayerNorm, LayerScale, LinearInit, Mlp, Residual};
use hssl_plugin_api::{Params, Result, Tensor};

/// Epsilon of all layer norms.
pub const NORM_EPS: f64 = 1e-6;

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
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
    pub attention: Part,
    /// Whether the MLP is there, and its shortcut.
    pub mlp: Part,
}

/// What a block has of one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The part and the shortcut around it.
    Residual,
    /// The part alone.
    Plain,
    /// Nothing.
    Absent,
}

impl Part {
    /// A part that is there, with or without its shortcut.
    pub fn with_shortcut(kept: bool) -> Self {
        if kept { Self::Residual } else { Self::Plain }
    }
}

/// x + ls1 attention(norm1 x); x + ls2 mlp(norm2 x). Layer scales, a part or a shortcut may be missing.
#[derive(Clone)]
pub struct Block {
    attention: Option<Residual<LayerNorm, Attention>>,
    mlp: Option<Residual<LayerNorm, Mlp>>,
}

impl Block {
    /// `norm1`, `attn`, `ls1`, `norm2`, `mlp`, `ls2`.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, heads, hidden, init, .. } = *config;
        let residual = |number: usize, part: Part| -> Result<_> {
            let norm = LayerNorm::new(width, NORM_EPS, &params.pp(format!("norm{number}")))?;
            let scale = params.pp(format!("ls{number}"));
            let scale = LayerScale::new("gamma", width, config.layer_scale, &scale)?;
            Ok((norm, scale, part == Part::Residual))
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
            attention: (config.attention != Part::Absent).then(attention).transpose()?,
            mlp: (config.mlp != Part::Absent).then(mlp).transpose()?,
        })
    }

    /// Rate of stochastic depth, of both parts.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.attention.iter_mut().for_each(|attention| attention.set_drop_path(rate));
        self.mlp.iter_mut().for_each(|mlp| mlp.set_drop_path(rate));
    }

    /// (B, N, C) to (B, N, C), with the attention (B, heads, N, N) if it is asked for.
    pub fn forward(&self, x: &Tensor, attention: bool) -> Result<(Tensor, Option<Tensor>)> {
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
