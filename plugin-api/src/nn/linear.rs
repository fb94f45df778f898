//! Dense layer.

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// y = x W^T + b, parameters `weight` (O, I) and `bias` (O).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
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
        })
    }

    /// (.., I) to (.., O).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight, self.bias.as_ref())
    }
}
