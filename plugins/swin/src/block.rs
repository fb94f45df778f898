//! The Swin block, of the base model and of the head.

use std::sync::Arc;

use hssl_plugin_api::nn::{LayerNorm, LayerScale, Mlp, Residual};
use hssl_plugin_api::{Params, Result, Tensor};

use crate::attention::WindowAttention;
use crate::window::Windows;

/// Sizes and switches of a block.
#[derive(Clone)]
pub struct BlockConfig {
    /// Channels C.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Epsilon of the layer norms.
    pub ln_eps: f64,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
    /// The windows of attention; none for a block without a token mixer.
    pub windows: Option<Arc<Windows>>,
    /// Whether the windows are shifted.
    pub shifted: bool,
    /// Whether the MLP is there.
    pub mlp: bool,
    /// Whether the block keeps its first shortcut: the attention's, or the MLP's if it is the only one.
    pub first_shortcut: bool,
    /// Whether it keeps the second.
    pub second_shortcut: bool,
}

/// x + attention(norm1 x); x + mlp(norm2 x).
#[derive(Clone)]
pub struct Block {
    attn: Option<Residual<LayerNorm, WindowAttention>>,
    mlp: Option<Residual<LayerNorm, Mlp>>,
}

impl Block {
    /// Linears and the bias table truncated normal.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, heads, hidden, shifted, .. } = *config;
        let around = |number: usize| -> Result<_> {
            let norm = LayerNorm::new(width, config.ln_eps, &params.pp(format!("norm{number}")))?;
            let scale = params.pp(format!("ls{number}"));
            Ok((norm, LayerScale::new("gamma", width, config.layer_scale, &scale)?))
        };
        let attn = |windows: &Arc<Windows>| -> Result<_> {
            let (norm, scale) = around(1)?;
            let attn = WindowAttention::new(width, heads, windows, shifted, &params.pp("attn"))?;
            Ok(Residual::new(norm, attn, scale, config.first_shortcut))
        };
        let mlp = || -> Result<_> {
            let (norm, scale) = around(2)?;
            let is_second = config.windows.is_some();
            let kept = if is_second { config.second_shortcut } else { config.first_shortcut };
            Ok(Residual::new(norm, Mlp::new(width, hidden, &params.pp("mlp"))?, scale, kept))
        };
        Ok(Self {
            attn: config.windows.as_ref().map(attn).transpose()?,
            mlp: config.mlp.then(mlp).transpose()?,
        })
    }

    /// Rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.attn.iter_mut().for_each(|attn| attn.set_drop_path(rate));
        self.mlp.iter_mut().for_each(|mlp| mlp.set_drop_path(rate));
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(attn) = &self.attn {
            x = attn.join(&x, attn.layer.forward(&attn.norm.forward(&x)?)?)?;
        }
        if let Some(mlp) = &self.mlp {
            x = mlp.join(&x, mlp.layer.forward(&mlp.norm.forward(&x)?)?)?;
        }
        Ok(x)
    }
}
