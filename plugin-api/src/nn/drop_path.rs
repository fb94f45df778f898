//! Stochastic depth.

use crate::{Result, Tensor};

/// Drops the whole branch of a sample with a probability, in training; the kept ones are divided
/// by the keep probability (Huang et al., 2016).
#[derive(Clone, Copy, Debug, Default)]
pub struct DropPath {
    rate: f64,
}

impl DropPath {
    /// With a rate in [0, 1).
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// x + drop(branch).
    pub fn add(&self, x: &Tensor, branch: &Tensor) -> Result<Tensor> {
        if self.rate > 0.0 { x.add(&branch.drop_path(self.rate)?) } else { x.add(branch) }
    }
}
