//! The CUDA kernels of statistics and affine maps per channel, and how they are launched.

use crate::cuda::Argument::{Int, Read, Write};
use crate::cuda::{self, Argument, Grid, empty, files, is_packed, kernel, launch};
use crate::{Array, DType, Result};

/// Most samples: blocks that a grid may have in z.
const MOST: usize = 65_535;

/// Whether the kernels take x (S, N, C).
pub(super) fn takes(x: &Array) -> bool {
    cuda::takes(x) && x.dims()[0] <= MOST
}

/// [`super::moments`].
pub(super) fn moments(x: &Array) -> Result<(Array, Array)> {
    let (samples, rows, channels) = x.dims3()?;
    let mean = cuda::sum(x, &[1], 1.0 / rows as f64)?.reshape((samples, channels))?;
    let (_, square) = sums(x, None, &mean)?;
    Ok((mean, square))
}

/// [`super::products`].
pub(super) fn products(x: &Array, grad: &Array, mean: &Array) -> Result<(Array, Array)> {
    sums(x, Some(grad), mean)
}

fn sums(x: &Array, grad: Option<&Array>, mean: &Array) -> Result<(Array, Array)> {
    let (samples, rows, channels) = x.dims3()?;
    let (x, mean) = (x.contiguous()?, mean.contiguous()?);
    let grad = like(&x, grad)?;
    let grid = Grid::columns(samples, rows, channels);
    let parts = empty((samples, grid.blocks[1], 2 * channels), DType::F32, x.device())?;
    launch(
        &files::PER_CHANNEL,
        &kernel("products", &[x.dtype()]),
        grid,
        &[
            Write(&parts),
            Read(&x),
            Argument::optional(grad.as_ref()),
            Read(&mean),
            Argument::size(rows),
            Argument::size(channels),
        ],
    )?;
    let sums = cuda::sum(&parts, &[1], 1.0)?.reshape((samples, 2, channels))?;
    let part = |at: usize| Ok::<_, crate::Error>(sums.narrow(1, at, 1)?.squeeze(1)?.contiguous()?);
    Ok((part(0)?, part(1)?))
}

/// [`super::affine`].
pub(super) fn affine(x: &Array, mean: &Array, scale: &Array, shift: &Array) -> Result<Array> {
    run(x, None, mean, [None, Some(scale), Some(shift)])
}

/// [`super::combine`].
pub(super) fn combine(
    x: &Array,
    grad: &Array,
    mean: &Array,
    factors: [&Array; 3],
) -> Result<Array> {
    run(x, Some(grad), mean, factors.map(Some))
}

fn run(
    x: &Array,
    grad: Option<&Array>,
    mean: &Array,
    factors: [Option<&Array>; 3],
) -> Result<Array> {
    let (_, rows, channels) = x.dims3()?;
    let (x, mean) = (x.contiguous()?, mean.contiguous()?);
    let grad = like(&x, grad)?;
    let whole = |array: Option<&Array>| array.map(Array::contiguous).transpose();
    let [a, b, c] = factors;
    let [a, b, c] = [whole(a)?, whole(b)?, whole(c)?];
    let y = empty(x.shape(), x.dtype(), x.device())?;
    let all: Vec<&Array> = [Some(&x), grad.as_ref()].into_iter().flatten().collect();
    launch(
        &files::PER_CHANNEL,
        &kernel("combine", &[x.dtype()]),
        Grid::pieces(x.elem_count().div_ceil(4)),
        &[
            Write(&y),
            Read(&x),
            Argument::optional(grad.as_ref()),
            Read(&mean),
            Argument::optional(a.as_ref()),
            Argument::optional(b.as_ref()),
            Argument::optional(c.as_ref()),
            Argument::size(rows),
            Argument::size(channels),
            Argument::count(&x),
            Int(is_packed(channels, &all).into()),
        ],
    )?;
    Ok(y)
}

/// A gradient as the kernels read it: of x's type, whole in memory.
fn like(x: &Array, grad: Option<&Array>) -> Result<Option<Array>> {
    grad.map(|grad| Ok(grad.to_dtype(x.dtype())?.contiguous()?)).transpose()
}
