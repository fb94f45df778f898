//! Shortcuts around a branch, and stochastic depth.

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

/// The connection around a branch: x + drop(branch), or the branch alone where the shortcut was removed (a
/// head's first one). A branch without its shortcut is never dropped.
#[derive(Clone, Copy, Debug)]
pub struct Shortcut {
    kept: bool,
    drop_path: DropPath,
}

impl Shortcut {
    /// With the shortcut, or without.
    pub fn new(kept: bool) -> Self {
        Self { kept, drop_path: DropPath::default() }
    }

    /// Sets the rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.drop_path = DropPath::new(rate);
    }

    /// What goes on after the branch.
    pub fn join(&self, x: &Tensor, branch: Tensor) -> Result<Tensor> {
        if self.kept { self.drop_path.add(x, &branch) } else { Ok(branch) }
    }
}
