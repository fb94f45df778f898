//! The CUDA kernels of cross-entropy against a distribution, and how they are launched.

use crate::cuda::Argument::{Float, Int, Read, Write};
pub(super) use crate::cuda::takes;
use crate::cuda::{Argument, Grid, empty, files, is_packed, kernel, launch};
use crate::{Array, DType, Result};

/// The loss (..), and log(sum(e^(x / T))) and sum(target) per row, flat; all in f32.
pub(super) fn forward(
    x: &Array,
    target: &Array,
    temperature: f64,
) -> Result<(Array, Array, Array)> {
    let (x, target) = (x.contiguous()?, target.contiguous()?);
    let (dims, width) = (&x.dims()[..x.rank() - 1], x.dims()[x.rank() - 1]);
    let rows = x.elem_count() / width;
    let column = || empty(rows, DType::F32, x.device());
    let (loss, log_sum, mass) = (column()?, column()?, column()?);
    launch(
        &files::SOFT_CROSS_ENTROPY,
        &kernel("soft_cross_entropy", &[x.dtype(), target.dtype()]),
        Grid::rows(rows, width),
        &[
            Write(&loss),
            Write(&log_sum),
            Write(&mass),
            Read(&x),
            Read(&target),
            Argument::size(width),
            Float((1.0 / temperature) as f32),
            Int(is_packed(width, &[&x, &target]).into()),
        ],
    )?;
    Ok((loss.reshape(dims)?, log_sum, mass))
}

/// The gradient of x.
pub(super) fn backward(
    x: &Array,
    target: &Array,
    log_sum: &Array,
    mass: &Array,
    grad: &Array,
    temperature: f64,
) -> Result<Array> {
    let (x, target, grad) = (x.contiguous()?, target.contiguous()?, grad.contiguous()?);
    let width = x.dims()[x.rank() - 1];
    let grad_x = empty(x.shape(), x.dtype(), x.device())?;
    launch(
        &files::SOFT_CROSS_ENTROPY,
        &kernel("soft_cross_entropy_grad", &[x.dtype(), target.dtype()]),
        Grid::rows(x.elem_count() / width, width),
        &[
            Write(&grad_x),
            Read(&x),
            Read(&target),
            Read(log_sum),
            Read(mass),
            Read(&grad),
            Argument::size(width),
            Float((1.0 / temperature) as f32),
            Int(is_packed(width, &[&x, &target]).into()),
        ],
    )?;
    Ok(grad_x)
}
