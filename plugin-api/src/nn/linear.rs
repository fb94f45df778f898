//! Dense layer.

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// How the weights of a transformer's dense layers start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinearInit {
    /// Truncated normal with std 0.02 (ViT, DINO, timm).
    #[default]
    TruncNormal,
    /// Glorot's uniform, for the query, key and value weights each by itself (MoCo v3). Its gain does
    /// not shrink with the width, so narrow models start out of GELU's linear range.
    XavierUniform,
}

impl LinearInit {
    /// For a weight (`outputs`, `inputs`).
    pub fn weight(self, inputs: usize, outputs: usize) -> Init {
        match self {
            Self::TruncNormal => Init::TRUNC_002,
            Self::XavierUniform => Init::xavier_uniform(inputs, outputs),
        }
    }
}

/// y = x W^T + b, parameters `weight` (O, I) and `bias` (O).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// Whether `weight` is kept as (O, I, 1, 1).
    pointwise: bool,
}

impl Linear {
    /// Truncated normal (std 0.02) weight and zero bias: what transformers start from.
    pub fn new(inputs: usize, outputs: usize, params: &Params<'_>) -> Result<Self> {
        Self::with_init(inputs, outputs, Init::TRUNC_002, Some(Init::ZEROS), params)
    }

    /// As [`Linear::new`] without a bias.
    pub fn no_bias(inputs: usize, outputs: usize, params: &Params<'_>) -> Result<Self> {
        Self::with_init(inputs, outputs, Init::TRUNC_002, None, params)
    }

    /// With given initialisers; no bias where none is given.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Option<Init>,
        params: &Params<'_>,
    ) -> Result<Self> {
        Ok(Self {
            weight: params.get("weight", &[outputs, inputs], weight)?,
            bias: bias.map(|init| params.get("bias", &[outputs], init)).transpose()?,
            pointwise: false,
        })
    }

    /// As [`Linear::new`] for networks that write the layer as a 1x1 convolution: `weight` (O, I, 1, 1).
    pub fn pointwise(inputs: usize, outputs: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            weight: params.get("weight", &[outputs, inputs, 1, 1], Init::TRUNC_002)?,
            bias: Some(params.get("bias", &[outputs], Init::ZEROS)?),
            pointwise: true,
        })
    }

    /// (.., I) to (.., O).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.pointwise {
            return x.linear(&self.weight.flatten(1, 3)?, self.bias.as_ref());
        }
        x.linear(&self.weight, self.bias.as_ref())
    }
}
