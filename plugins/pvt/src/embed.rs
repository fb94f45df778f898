//! Patch embeddings, and how convolutions start.

use hssl_plugin_api::nn::{Conv2d, ConvConfig, LayerNorm};
use hssl_plugin_api::{Init, Params, Result, Tensor};

/// Epsilon of the layer norms after convolutions; everywhere else it is 1e-6.
pub const CONV_NORM_EPS: f64 = 1e-5;

/// How convolutions start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvInit {
    /// As PyTorch's (`pvt`).
    FanIn,
    /// N(0, 2 / fan_out), biases 0 (`pvt_v2`).
    FanOut,
}

impl ConvInit {
    /// A convolution that starts so.
    pub fn conv(
        self,
        inputs: usize,
        outputs: usize,
        config: ConvConfig,
        params: &Params<'_>,
    ) -> Result<Conv2d> {
        match self {
            Self::FanIn => Conv2d::new(inputs, outputs, config, params),
            Self::FanOut => {
                let fan_out = config.kernel * config.kernel * outputs / config.groups;
                let weight = Init::kaiming_fan_out(fan_out);
                Conv2d::with_init(inputs, outputs, config, weight, Init::ZEROS, params)
            }
        }
    }
}

/// A convolution that makes the map coarser, then a layer norm.
pub struct PatchEmbed {
    proj: Conv2d,
    norm: LayerNorm,
}

impl PatchEmbed {
    /// Patches of `size` x `size` that tile the map.
    pub fn tiles(inputs: usize, width: usize, size: usize, params: &Params<'_>) -> Result<Self> {
        Self::new(inputs, width, ConvConfig::patches(size), ConvInit::FanIn, params)
    }

    /// Patches `stride` apart that overlap their neighbours by half.
    pub fn overlapping(
        inputs: usize,
        width: usize,
        stride: usize,
        params: &Params<'_>,
    ) -> Result<Self> {
        let config = ConvConfig { stride, padding: stride - 1, ..ConvConfig::new(2 * stride - 1) };
        Self::new(inputs, width, config, ConvInit::FanOut, params)
    }

    fn new(
        inputs: usize,
        width: usize,
        config: ConvConfig,
        init: ConvInit,
        params: &Params<'_>,
    ) -> Result<Self> {
        Ok(Self {
            proj: init.conv(inputs, width, config, &params.pp("proj"))?,
            norm: LayerNorm::new(width, CONV_NORM_EPS, &params.pp("norm"))?,
        })
    }

    /// (B, H, W, I) to (B, H', W', C).
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.proj.forward(map)?)
    }
}
