//! Broadcasting and its adjoint.

use crate::{Array, DType, Error, Result};

/// The shape in which two shapes meet (NumPy rules).
pub(crate) fn shape(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::shape(op, format!("{a:?} and {b:?}"), "shapes that broadcast")),
        })
        .collect()
}

/// Sums a gradient over the dimensions that `shape` was broadcast along, and casts it to `dtype`.
pub(crate) fn reduce_to(grad: &Array, shape: &[usize], dtype: DType) -> Result<Array> {
    let mut grad = grad.clone();
    if grad.dims() != shape {
        let lead = grad.rank() - shape.len();
        let dims: Vec<usize> = (0..grad.rank())
            .filter(|axis| *axis < lead || (shape[*axis - lead] == 1 && grad.dims()[*axis] != 1))
            .collect();
        if !dims.is_empty() {
            // Sums of bf16 lose digits with every term.
            if grad.dtype() != DType::F64 {
                grad = grad.to_dtype(DType::F32)?;
            }
            grad = grad.sum_keepdim(dims)?;
        }
        grad = grad.reshape(shape)?;
    }
    Ok(grad.to_dtype(dtype)?)
}

/// The float type in which two operands meet.
pub(crate) fn promote(a: &Array, b: &Array) -> Result<(Array, Array)> {
    let width = |dtype: DType| match dtype {
        DType::F64 => 5,
        DType::F32 => 4,
        DType::BF16 | DType::F16 => 3,
        DType::I64 => 2,
        DType::U32 => 1,
        _ => 0,
    };
    let (da, db) = (a.dtype(), b.dtype());
    let dtype = match (da, db) {
        _ if da == db => return Ok((a.clone(), b.clone())),
        (DType::BF16, DType::F16) | (DType::F16, DType::BF16) => DType::F32,
        _ if width(da) >= width(db) => da,
        _ => db,
    };
    Ok((a.to_dtype(dtype)?, b.to_dtype(dtype)?))
}
