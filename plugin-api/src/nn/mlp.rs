//! Two dense layers with GELU between.

use crate::nn::{Linear, LinearInit};
use crate::{Init, Params, Result, Tensor};

/// `fc1`, GELU, `fc2`.
#[derive(Clone, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// C to `hidden` to C.
    pub fn new(width: usize, hidden: usize, params: &Params<'_>) -> Result<Self> {
        Self::with_init(width, hidden, LinearInit::default(), params)
    }

    /// As [`Mlp::new`], with weights that start as `init` says.
    pub fn with_init(
        width: usize,
        hidden: usize,
        init: LinearInit,
        params: &Params<'_>,
    ) -> Result<Self> {
        let linear = |name, inputs, outputs| {
            let weight = init.weight(inputs, outputs);
            Linear::with_init(inputs, outputs, weight, Some(Init::ZEROS), &params.pp(name))
        };
        Ok(Self { fc1: linear("fc1", width, hidden)?, fc2: linear("fc2", hidden, width)? })
    }

    /// As [`Mlp::new`], with weights kept as those of 1x1 convolutions.
    pub fn pointwise(width: usize, hidden: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            fc1: Linear::pointwise(width, hidden, &params.pp("fc1"))?,
            fc2: Linear::pointwise(hidden, width, &params.pp("fc2"))?,
        })
    }

    /// (.., C) to (.., C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu()?)
    }
}
