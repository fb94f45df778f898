//! Layer scale.

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// A learned factor per channel at the end of a branch (Touvron et al., 2021), or nothing.
#[derive(Clone, Debug)]
pub struct LayerScale(Option<Tensor>);

impl LayerScale {
    /// The parameter `name` (C), which starts at `init` everywhere; without `init`, nothing.
    pub fn new(name: &str, width: usize, init: Option<f64>, params: &Params<'_>) -> Result<Self> {
        let make = |value| params.get(name, &[width], Init::Constant(value));
        Ok(Self(init.map(make).transpose()?))
    }

    /// (.., C) to (.., C).
    pub fn forward(&self, branch: Tensor) -> Result<Tensor> {
        match &self.0 {
            Some(scale) => branch.mul(scale),
            None => Ok(branch),
        }
    }
}
