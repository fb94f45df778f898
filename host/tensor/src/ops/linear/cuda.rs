//! What CUDA adds to the product: the bias.

use crate::cpu::Cast;
use crate::cuda::Argument::{Int, Read, Write};
pub(super) use crate::cuda::takes;
use crate::cuda::{Argument, Grid, files, is_packed, kernel, launch};
use crate::{Array, DType, Result};

/// Adds `bias` (O) to every row of y (rows, O), which nobody else may have.
pub(super) fn add_bias(y: &Array, bias: &Array) -> Result<Array> {
    let (rows, width) = y.dims2()?;
    let bias = bias.cast(DType::F32)?.contiguous()?;
    launch(
        &files::LINEAR,
        &kernel("add_bias", &[y.dtype()]),
        Grid::rows(rows, width),
        &[Write(y), Read(&bias), Argument::size(width), Int(is_packed(width, &[y]).into())],
    )?;
    Ok(y.clone())
}
