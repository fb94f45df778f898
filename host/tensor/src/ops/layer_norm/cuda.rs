//! Layer norm's CUDA kernels, and how they are launched.

use super::Needs;
use crate::cpu::Cast;
use crate::cuda::Argument::{Float, Int, Read, Write};
pub(super) use crate::cuda::takes;
use crate::cuda::{Argument, Grid, column_sums, empty, files, is_packed, kernel, launch};
use crate::{Array, DType, Result};

/// y (.., C) of type `to`, and mean and 1 / sqrt(var + eps) per row (.., 1).
pub(super) fn forward(
    x: &Array,
    scale: Option<&Array>,
    shift: Option<&Array>,
    eps: f64,
    to: DType,
) -> Result<(Array, Array, Array)> {
    let (x, scale, shift) = (x.contiguous()?, vector(scale)?, vector(shift)?);
    let (rows, width) = rows(&x);
    let mut dims = x.dims().to_vec();
    *dims.last_mut().expect("x has a dimension") = 1;
    let device = x.device();
    let y = empty(x.shape(), to, device)?;
    let [mean, rstd] =
        [empty(dims.as_slice(), DType::F32, device)?, empty(dims.as_slice(), DType::F32, device)?];
    launch(
        &files::LAYER_NORM,
        &kernel("layer_norm", &[x.dtype(), to]),
        Grid::rows(rows, width),
        &[
            Write(&y),
            Write(&mean),
            Write(&rstd),
            Read(&x),
            Argument::optional(scale.as_ref()),
            Argument::optional(shift.as_ref()),
            Argument::size(width),
            Float(eps as f32),
            Int(is_packed(width, &[&x]).into()),
        ],
    )?;
    Ok((y, mean, rstd))
}

/// The gradients of x, weight and bias; those of the vectors in f32.
pub(super) fn backward(
    x: &Array,
    mean: &Array,
    rstd: &Array,
    scale: Option<&Array>,
    grad: &Array,
    needs: Needs,
) -> Result<[Option<Array>; 3]> {
    let (x, grad, scale) = (x.contiguous()?, grad.contiguous()?, vector(scale)?);
    let (rows, width) = rows(&x);
    let types = [x.dtype(), grad.dtype()];
    let grad_x = || -> Result<Array> {
        let grad_x = empty(x.shape(), x.dtype(), x.device())?;
        launch(
            &files::LAYER_NORM,
            &kernel("layer_norm_grad_x", &types),
            Grid::rows(rows, width),
            &[
                Write(&grad_x),
                Read(&x),
                Read(&grad),
                Argument::optional(scale.as_ref()),
                Read(mean),
                Read(rstd),
                Argument::size(width),
                Int(is_packed(width, &[&x, &grad]).into()),
            ],
        )?;
        Ok(grad_x)
    };
    let vectors = || -> Result<Array> {
        let grid = Grid::columns(1, rows, width);
        let parts = empty((grid.blocks[1], 2, width), DType::F32, x.device())?;
        launch(
            &files::LAYER_NORM,
            &kernel("layer_norm_grad_w", &types),
            grid,
            &[
                Write(&parts),
                Read(&x),
                Read(&grad),
                Read(mean),
                Read(rstd),
                Argument::size(rows),
                Argument::size(width),
            ],
        )?;
        column_sums(&parts.reshape((grid.blocks[1], 2 * width))?)
    };
    let sums = (needs.weight || needs.bias).then(vectors).transpose()?;
    let part = |at: usize| sums.as_ref().map(|sums| sums.narrow(0, at * width, width)).transpose();
    Ok([
        needs.x.then(grad_x).transpose()?,
        if needs.weight { part(0)? } else { None },
        if needs.bias { part(1)? } else { None },
    ])
}

fn rows(x: &Array) -> (usize, usize) {
    let width = x.dims()[x.rank() - 1];
    (x.elem_count() / width, width)
}

/// A vector as the kernels read it.
fn vector(of: Option<&Array>) -> Result<Option<Array>> {
    of.map(|of| Ok(of.cast(DType::F32)?.contiguous()?)).transpose()
}
