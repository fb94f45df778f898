//! Launches of the common shapes: over all elements, and over the rows along a dimension.

use super::Argument::{self, Int, Read, Write};
use super::{Grid, Kernels, empty, is_packed, kernel, launch};
use crate::{Array, DType, Result};

/// `name`_T(y, x, count, packed) for x of type T: y of its shape and type.
pub(crate) fn map_all(kernels: &'static Kernels, name: &str, x: &Array) -> Result<Array> {
    let x = x.contiguous()?;
    let y = empty(x.shape(), x.dtype(), x.device())?;
    let arguments = [Write(&y), Read(&x), Argument::count(&x), Int(is_packed(4, &[&x]).into())];
    launch(
        kernels,
        &kernel(name, &[x.dtype()]),
        Grid::pieces(x.elem_count().div_ceil(4)),
        &arguments,
    )?;
    Ok(y)
}

/// `name`_T(y, a, b, count, packed) for a and b of one shape and type T: y of them, too.
pub(crate) fn zip_all(
    kernels: &'static Kernels,
    name: &str,
    a: &Array,
    b: &Array,
) -> Result<Array> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let y = empty(a.shape(), a.dtype(), a.device())?;
    let packed = is_packed(4, &[&a, &b]);
    let arguments = [Write(&y), Read(&a), Read(&b), Argument::count(&a), Int(packed.into())];
    launch(
        kernels,
        &kernel(name, &[a.dtype()]),
        Grid::pieces(a.elem_count().div_ceil(4)),
        &arguments,
    )?;
    Ok(y)
}

/// `name`_T_O(y, x, width, packed) for the rows of x along `dim`: y of type O = `to`.
pub(crate) fn map_rows(
    kernels: &'static Kernels,
    name: &str,
    x: &Array,
    dim: usize,
    to: DType,
) -> Result<Array> {
    let last = x.rank() - 1;
    let x = x.transpose(dim, last)?.contiguous()?;
    let y = empty(x.shape(), to, x.device())?;
    let width = x.dims()[last];
    launch(
        kernels,
        &kernel(name, &[x.dtype(), to]),
        Grid::rows(x.elem_count() / width, width),
        &[Write(&y), Read(&x), Argument::size(width), Int(is_packed(width, &[&x]).into())],
    )?;
    Ok(y.transpose(dim, last)?)
}

/// `name`_T_O(dx, y, grad, width, packed) for the rows of y and grad, of type O, along `dim`: dx of type
/// T = `to`.
pub(crate) fn differentiate_rows(
    kernels: &'static Kernels,
    name: &str,
    y: &Array,
    grad: &Array,
    dim: usize,
    to: DType,
) -> Result<Array> {
    let last = y.rank() - 1;
    let y = y.transpose(dim, last)?.contiguous()?;
    let grad = grad.transpose(dim, last)?.contiguous()?;
    let grad_x = empty(y.shape(), to, y.device())?;
    let width = y.dims()[last];
    let packed = is_packed(width, &[&y, &grad]);
    launch(
        kernels,
        &kernel(name, &[to, y.dtype()]),
        Grid::rows(y.elem_count() / width, width),
        &[Write(&grad_x), Read(&y), Read(&grad), Argument::size(width), Int(packed.into())],
    )?;
    Ok(grad_x.transpose(dim, last)?)
}
