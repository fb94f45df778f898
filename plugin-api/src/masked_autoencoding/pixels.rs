//! Pixels as targets.

use crate::{Result, Tensor};

/// Keeps the deviation of a patch of one colour away from 0.
const EPS: f64 = 1e-6;

/// Images (B, 3, H, W) to patches (B, h w, p p 3): row, column, channel. Sides are multiples of p.
pub(super) fn patches(images: &Tensor, patch: usize) -> Result<Tensor> {
    let (b, channels, height, width) = images.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    let cells = images.reshape((b, channels, rows, patch, columns, patch))?;
    let cells = cells.permute(&[0, 2, 4, 3, 5, 1])?; // (B, h, w, p, p, 3)
    cells.reshape((b, rows * columns, patch * patch * channels))
}

/// (t - mean) / sqrt(variance + 1e-6) of each patch; the variance is the unbiased one.
pub(super) fn normed(patches: &Tensor) -> Result<Tensor> {
    let mean = patches.mean(&[-1], true)?;
    let deviation = patches.var(&[-1], 1, true)?.affine(1.0, EPS)?.sqrt()?;
    patches.sub(&mean)?.div(&deviation)
}
