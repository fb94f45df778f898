//! A layer of a block with what is around it.

use crate::nn::{LayerScale, Shortcut};
use crate::{Result, Tensor};

/// x + drop(scale * layer(norm x)), each of scale and shortcut where there is one.
#[derive(Clone, Debug)]
pub struct Residual<N, L> {
    /// Before the layer.
    pub norm: N,
    /// The layer.
    pub layer: L,
    scale: LayerScale,
    shortcut: Shortcut,
}

impl<N, L> Residual<N, L> {
    /// `shortcut`: whether the block keeps it.
    pub fn new(norm: N, layer: L, scale: LayerScale, shortcut: bool) -> Self {
        Self { norm, layer, scale, shortcut: Shortcut::new(shortcut) }
    }

    /// Sets the rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.shortcut.set_drop_path(rate);
    }

    /// What goes on after the layer, which made `y` of the normed `x`.
    pub fn join(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        self.shortcut.join(x, self.scale.forward(y)?)
    }
}
