//! Indices that choose entries of a dimension, and portable selection along one dimension.

use crate::cpu::{self, select};
use crate::{Array, DType, Error, Result, Tensor};

/// The index array, row-major. In CPU memory every entry is checked to lie in 0..size; on a device
/// that would wait for the device, so there its kernels are trusted.
pub(crate) fn checked(op: &'static str, index: &Tensor, size: usize) -> Result<Array> {
    let array = index.array();
    if array.dtype() != DType::I64 {
        return Err(Error::Type { op, found: array.dtype(), expected: "i64 indices" });
    }
    if array.device().is_cpu() {
        let bad = cpu::Elements::of(&array)?.read(|index: &[i64]| {
            index.iter().copied().find(|index| !(0..size as i64).contains(index))
        })?;
        if let Some(bad) = bad {
            return Err(Error::attribute(op, format!("index {bad} outside 0..{size}")));
        }
    }
    Ok(array)
}

/// Entries `table` of dimension `dim`.
pub(crate) fn pick(x: &Array, dim: usize, table: &[usize]) -> Result<Array> {
    if cpu::is_native(x) {
        let mut tables = vec![None; x.rank()];
        tables[dim] = Some(table.to_vec());
        return select::select(x, &tables, 0.0);
    }
    Ok(x.contiguous()?.index_select(&array(table, x)?, dim)?)
}

/// The adjoint of [`pick`] from a dimension of `size` entries.
pub(crate) fn pick_adjoint(
    grad: &Array,
    dim: usize,
    table: &[usize],
    size: usize,
) -> Result<Array> {
    if cpu::is_native(grad) {
        return select::select_adjoint(grad, dim, table, size);
    }
    portable_adjoint(grad, dim, &array(table, grad)?, size)
}

/// Adds slices of `grad` into zeros at `index`; half types in f32.
pub(crate) fn portable_adjoint(
    grad: &Array,
    dim: usize,
    index: &Array,
    size: usize,
) -> Result<Array> {
    let wide = widen(grad)?.contiguous()?;
    let mut shape = grad.dims().to_vec();
    shape[dim] = size;
    let zeros = Array::zeros(shape, wide.dtype(), wide.device())?;
    Ok(zeros.index_add(&index.force_contiguous()?, &wide, dim)?.to_dtype(grad.dtype())?)
}

/// In the type in which sums are kept.
pub(crate) fn widen(x: &Array) -> Result<Array> {
    Ok(match x.dtype() {
        DType::BF16 | DType::F16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    })
}

fn array(table: &[usize], like: &Array) -> Result<Array> {
    let table: Vec<i64> = table.iter().map(|index| *index as i64).collect();
    let len = table.len();
    Ok(Array::from_vec(table, len, like.device())?)
}
