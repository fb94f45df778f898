//! The Swin block, of the base model and of the head.

use std::sync::Arc;

use hssl_plugin_api::nn::{LayerNorm, Mlp, Shortcut};
use hssl_plugin_api::{Init, Params, Result, Tensor};

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
    /// First value of the layer scales, if there are any.
    pub layer_scale: Option<f64>,
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
    attn: Option<Residual<WindowAttention>>,
    mlp: Option<Residual<Mlp>>,
}

impl Block {
    /// Linears and the bias table truncated normal.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, heads, hidden, shifted, .. } = *config;
        let attn = config.windows.as_ref().map(|windows| {
            Residual::new(1, config, config.first_shortcut, params, || {
                WindowAttention::new(width, heads, windows, shifted, &params.pp("attn"))
            })
        });
        let mlp = config.mlp.then(|| {
            let is_second = config.windows.is_some();
            let kept = if is_second { config.second_shortcut } else { config.first_shortcut };
            Residual::new(2, config, kept, params, || Mlp::new(width, hidden, &params.pp("mlp")))
        });
        Ok(Self { attn: attn.transpose()?, mlp: mlp.transpose()? })
    }

    /// Rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        if let Some(attn) = &mut self.attn {
            attn.shortcut.set_drop_path(rate);
        }
        if let Some(mlp) = &mut self.mlp {
            mlp.shortcut.set_drop_path(rate);
        }
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(attn) = &self.attn {
            x = attn.forward(&x, WindowAttention::forward)?;
        }
        if let Some(mlp) = &self.mlp {
            x = mlp.forward(&x, Mlp::forward)?;
        }
        Ok(x)
    }
}

/// x + gamma branch(norm x), each of gamma and the shortcut where there is one.
#[derive(Clone)]
struct Residual<F> {
    norm: LayerNorm,
    branch: F,
    gamma: Option<Tensor>,
    shortcut: Shortcut,
}

impl<F> Residual<F> {
    /// The block's branch number `number`, from 1.
    fn new(
        number: usize,
        config: &BlockConfig,
        shortcut: bool,
        params: &Params<'_>,
        branch: impl FnOnce() -> Result<F>,
    ) -> Result<Self> {
        let norm = params.pp(format!("norm{number}"));
        let scale = params.pp(format!("ls{number}"));
        let gamma = |value| scale.get("gamma", &[config.width], Init::Constant(value));
        Ok(Self {
            norm: LayerNorm::new(config.width, config.ln_eps, &norm)?,
            branch: branch()?,
            gamma: config.layer_scale.map(gamma).transpose()?,
            shortcut: Shortcut::new(shortcut),
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        branch: impl FnOnce(&F, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut y = branch(&self.branch, &self.norm.forward(x)?)?;
        if let Some(gamma) = &self.gamma {
            y = y.mul(gamma)?;
        }
        self.shortcut.join(x, y)
    }
}
