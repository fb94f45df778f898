//! Convolution.

use hssl_ops::Op;

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// Kernel size and geometry of a [`Conv2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvConfig {
    /// Kernel size, square.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Independent slices of the channels.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvConfig {
    /// Stride 1, no padding, one group, with bias.
    pub fn new(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: 0, groups: 1, bias: true }
    }

    /// Windows that tile the map: a patch embedding.
    pub fn patches(size: usize) -> Self {
        Self { stride: size, ..Self::new(size) }
    }

    /// One filter per channel, output as large as the input.
    pub fn depthwise(kernel: usize, width: usize) -> Self {
        Self { padding: kernel / 2, groups: width, ..Self::new(kernel) }
    }
}

/// Cross-correlation; `weight` (O, I/groups, k, k) and `bias` (O).
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvConfig,
}

impl Conv2d {
    /// PyTorch's default initialisation: U(+-1/sqrt(fan_in)) for both.
    pub fn new(
        inputs: usize,
        outputs: usize,
        config: ConvConfig,
        params: &Params<'_>,
    ) -> Result<Self> {
        let fan_in = inputs / config.groups.max(1) * config.kernel * config.kernel;
        let init = Init::fan_in(fan_in);
        Self::with_init(inputs, outputs, config, init.clone(), init, params)
    }

    /// With given initialisers.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        config: ConvConfig,
        weight: Init,
        bias: Init,
        params: &Params<'_>,
    ) -> Result<Self> {
        if config.groups == 0 || !inputs.is_multiple_of(config.groups) {
            refuse!("{}: {inputs} channels in {} groups", params.prefix(), config.groups);
        }
        let shape = [outputs, inputs / config.groups, config.kernel, config.kernel];
        Ok(Self {
            weight: params.get("weight", &shape, weight)?,
            bias: config.bias.then(|| params.get("bias", &[outputs], bias)).transpose()?,
            config,
        })
    }

    /// (B, H, W, I) to (B, H', W', O).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvConfig { stride, padding, groups, .. } = self.config;
        let op =
            Op::Conv2d { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups };
        x.with_optional(&op, &[&self.weight], &[self.bias.as_ref()])
    }
}
