//! The weight-normed last layer of clustering objectives.

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// Rows W_k = g_k v_k / ||v_k|| without bias; `weight_g` (K, 1) and `weight_v` (K, I).
#[derive(Clone, Debug)]
pub struct WeightNormLinear {
    v: Tensor,
    g: Tensor,
}

impl WeightNormLinear {
    /// g starts at 1 and is not trained if `freeze_norm`; v starts as PyTorch's linear does.
    pub fn new(
        inputs: usize,
        outputs: usize,
        freeze_norm: bool,
        params: &Params<'_>,
    ) -> Result<Self> {
        let v = params.get("weight_v", &[outputs, inputs], Init::fan_in(inputs))?;
        let frozen = if freeze_norm { params.frozen() } else { params.clone() };
        Ok(Self { v, g: frozen.get("weight_g", &[outputs, 1], Init::ONES)? })
    }

    /// The weight (K, I).
    pub fn weight(&self) -> Result<Tensor> {
        self.v.weight_norm(&self.g)
    }

    /// (.., I) to (.., K).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight()?, None)
    }
}
