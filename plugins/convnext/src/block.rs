//! The ConvNeXt block.

use hssl_plugin_api::nn::{self, Conv2d, ConvConfig, LayerNorm, LayerScale, Mlp, Shortcut};
use hssl_plugin_api::{Init, Params, Result, Tensor};

/// Sizes and switches of a block.
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// Channels C.
    pub width: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// How the depthwise kernel and its bias start.
    pub conv_init: (Init, Init),
    /// Epsilon of the layer norm.
    pub ln_eps: f64,
    /// First value of the layer scale; 0: none.
    pub layer_scale: f64,
    /// Whether the block keeps its shortcut.
    pub shortcut: bool,
    /// Whether the depthwise convolution is there.
    pub token_mixer: bool,
    /// Whether the MLP is there.
    pub mlp: bool,
    /// Whether the MLP's weights are kept as those of 1x1 convolutions.
    pub conv_mlp: bool,
}

/// Depthwise convolution, layer norm, MLP; added to the input where the shortcut is kept.
#[derive(Clone)]
pub struct Block {
    conv_dw: Option<Conv2d>,
    norm: LayerNorm,
    mlp: Option<Mlp>,
    gamma: LayerScale,
    shortcut: Shortcut,
}

impl Block {
    /// Linears start truncated normal.
    pub fn new(config: BlockConfig, params: &Params<'_>) -> Result<Self> {
        let width = config.width;
        let (weight, bias) = config.conv_init;
        let conv = || {
            let depthwise = ConvConfig::depthwise(config.kernel, width);
            Conv2d::with_init(width, width, depthwise, weight, bias, &params.pp("conv_dw"))
        };
        let mlp = || {
            let make = if config.conv_mlp { Mlp::pointwise } else { Mlp::new };
            make(width, 4 * width, &params.pp("mlp"))
        };
        Ok(Self {
            conv_dw: config.token_mixer.then(conv).transpose()?,
            norm: LayerNorm::new(width, config.ln_eps, &params.pp("norm"))?,
            mlp: config.mlp.then(mlp).transpose()?,
            gamma: LayerScale::new("gamma", width, config.layer_scale, params)?,
            shortcut: Shortcut::new(config.shortcut),
        })
    }
}

impl nn::Block for Block {
    fn set_drop_path(&mut self, rate: f64) {
        self.shortcut.set_drop_path(rate);
    }

    /// (B, H, W, C) to (B, H, W, C).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = match &self.conv_dw {
            Some(conv) => conv.forward(x)?,
            None => x.clone(),
        };
        y = self.norm.forward(&y)?;
        if let Some(mlp) = &self.mlp {
            y = mlp.forward(&y)?;
        }
        self.shortcut.join(x, self.gamma.forward(y)?)
    }
}
