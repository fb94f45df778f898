//! The ConvNeXt block.

use hssl_plugin_api::nn::{Conv2d, ConvConfig, LayerNorm, Mlp, Shortcut};
use hssl_plugin_api::{Init, Params, Result, Tensor};

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Channels C.
    pub width: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Epsilon of the layer norm.
    pub ln_eps: f64,
    /// First value of the layer scale, if there is one.
    pub layer_scale: Option<f64>,
    /// Whether the block keeps its shortcut.
    pub shortcut: bool,
    /// Whether the depthwise convolution is there.
    pub token_mixer: bool,
    /// Whether the MLP is there.
    pub mlp: bool,
}

/// Depthwise convolution, layer norm, MLP; added to the input where the shortcut is kept.
#[derive(Clone)]
pub struct Block {
    conv_dw: Option<Conv2d>,
    norm: LayerNorm,
    mlp: Option<Mlp>,
    gamma: Option<Tensor>,
    shortcut: Shortcut,
}

impl Block {
    /// Convolution with PyTorch's default initialisation, linears truncated normal.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let width = config.width;
        let conv = || {
            let depthwise = ConvConfig::depthwise(config.kernel, width);
            Conv2d::new(width, width, depthwise, &params.pp("conv_dw"))
        };
        let gamma = |value| params.get("gamma", &[width], Init::Constant(value));
        Ok(Self {
            conv_dw: config.token_mixer.then(conv).transpose()?,
            norm: LayerNorm::new(width, config.ln_eps, &params.pp("norm"))?,
            mlp: config.mlp.then(|| Mlp::new(width, 4 * width, &params.pp("mlp"))).transpose()?,
            gamma: config.layer_scale.map(gamma).transpose()?,
            shortcut: Shortcut::new(config.shortcut),
        })
    }

    /// Rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.shortcut.set_drop_path(rate);
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = match &self.conv_dw {
            Some(conv) => conv.forward(x)?,
            None => x.clone(),
        };
        y = self.norm.forward(&y)?;
        if let Some(mlp) = &self.mlp {
            y = mlp.forward(&y)?;
        }
        if let Some(gamma) = &self.gamma {
            y = y.mul(gamma)?;
        }
        self.shortcut.join(x, y)
    }
}
