//! Layer scale.

use crate::params::Init;
use crate::{Params, Result, Tensor};

/// A learned factor per channel at the end of a branch (Touvron et al., 2021), if there is one.
#[derive(Clone, Debug)]
pub struct LayerScale(Option<Tensor>);

impl LayerScale {
    /// The parameter `name` (C), which starts at `init` everywhere; 0, which would stop the branch from
    /// learning, leaves it out.
    pub fn new(name: &str, width: usize, init: f64, params: &Params<'_>) -> Result<Self> {
        let make = || params.get(name, &[width], Init::Constant(init));
        Ok(Self((init != 0.0).then(make).transpose()?))
    }

    /// (.., C) to (.., C).
    pub fn forward(&self, branch: Tensor) -> Result<Tensor> {
        match &self.0 {
            Some(scale) => branch.mul(scale),
            None => Ok(branch),
        }
    }
}
