//! The dense layer over positions.

use hssl_plugin_api::nn::Linear;
use hssl_plugin_api::{Params, ResizeMode, Result, Tensor};

/// Each channel's map of N = h w positions, row by row, through one layer N to N. Maps of another grid are
/// resized to the layer's, bilinearly, and its output back to theirs.
#[derive(Clone)]
pub struct TokenLinear {
    linear: Linear,
    grid: [usize; 2],
}

impl TokenLinear {
    /// For maps of `grid` rows and columns.
    pub fn new(grid: [usize; 2], params: &Params<'_>) -> Result<Self> {
        let positions = grid[0] * grid[1];
        Ok(Self { linear: Linear::new(positions, positions, params)?, grid })
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, rows, columns, _) = x.dims4()?;
        if [rows, columns] == self.grid {
            return self.mix(x);
        }
        let resized = |x: &Tensor, grid| x.resize(grid, ResizeMode::Bilinear, false);
        resized(&self.mix(&resized(x, self.grid)?)?, [rows, columns])
    }

    /// Of a map of the layer's grid.
    fn mix(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let channels = x.reshape((b, h * w, c))?.transpose(1, 2)?; // (B, C, N)
        self.linear.forward(&channels)?.transpose(1, 2)?.reshape((b, h, w, c))
    }
}
