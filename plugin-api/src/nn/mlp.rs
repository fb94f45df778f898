//! Two dense layers with GELU between.

use crate::nn::Linear;
use crate::{Params, Result, Tensor};

/// `fc1`, GELU, `fc2`.
#[derive(Clone, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// C to `hidden` to C.
    pub fn new(width: usize, hidden: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(width, hidden, &params.pp("fc1"))?,
            fc2: Linear::new(hidden, width, &params.pp("fc2"))?,
        })
    }

    /// (.., C) to (.., C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu()?)
    }
}
