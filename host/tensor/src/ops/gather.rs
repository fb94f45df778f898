//! Entries of one dimension, chosen per position.

use super::index::{checked, widen};
use super::shape::{self, split};
use crate::cpu::{self, Elements, select};
use crate::{Array, Error, Result, Tensor, tape, with_element};

/// out\[..i..\] = x\[..index\[..i..\]..\] along `dim`. `index` (i64) has the rank of x and at most its
/// sizes but for `dim`; the result has its shape. An index that repeats along the dimensions after
/// `dim` (broadcast) moves whole rows.
///
/// # Errors
/// The shapes do not fit, or an index lies outside the dimension.
pub fn gather(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("Gather", dim, array.rank())?;
    let dims = array.dims().to_vec();
    fits("Gather", &index.dims(), &dims, dim)?;
    let index_array = checked("Gather", index, dims[dim])?;
    let output = take(&array, &index_array, dim)?;
    Ok(tape::record("Gather", &[x], output, move |grad| {
        Ok(vec![Some(put(grad, &index_array, &dims, dim)?)])
    }))
}

/// That `index` may choose from a tensor of shape `dims` along `dim`.
pub(crate) fn fits(op: &'static str, index: &[usize], dims: &[usize], dim: usize) -> Result<()> {
    let within = |axis: usize| axis == dim || index[axis] <= dims[axis];
    if index.len() == dims.len() && (0..dims.len()).all(within) {
        return Ok(());
    }
    let found = format!("index {index:?} for {dims:?}");
    Err(Error::shape(op, found, format!("equal rank and no larger sizes but for dimension {dim}")))
}

/// The index without its repetitions along the dimensions after `dim`, if it repeats there.
pub(crate) fn whole_rows(index: &Array, dim: usize) -> Result<(Array, bool)> {
    let trailing = dim + 1..index.rank();
    let repeats = |axis: usize| index.stride()[axis] == 0 || index.dims()[axis] == 1;
    let inner: usize = index.dims()[trailing.clone()].iter().product();
    if inner <= 1 || !trailing.clone().all(repeats) {
        return Ok((index.clone(), false));
    }
    let mut index = index.clone();
    for axis in trailing {
        index = index.narrow(axis, 0, 1)?;
    }
    Ok((index, true))
}

/// Gathers.
pub(crate) fn take(x: &Array, index: &Array, dim: usize) -> Result<Array> {
    let mut x = x.clone();
    for axis in (0..x.rank()).filter(|axis| *axis != dim) {
        x = x.narrow(axis, 0, index.dims()[axis])?;
    }
    if !cpu::is_native(&x) {
        return Ok(x.contiguous()?.gather(&index.contiguous()?, dim)?);
    }
    let extents = split(x.dims(), dim);
    let shape = index.dims().to_vec();
    let (index, whole) = whole_rows(index, dim)?;
    with_element!("Gather", x.dtype(), T => {
        let index = Elements::of(&index)?;
        let output = Elements::of(&x)?.read(|x: &[T]| {
            index.read(|index: &[i64]| select::gather(x, index, extents, whole))
        })??;
        cpu::from_vec(output, shape)
    })
}

/// The adjoint of [`take`]: adds `grad` at `index` into zeros of shape `dims`.
pub(crate) fn put(grad: &Array, index: &Array, dims: &[usize], dim: usize) -> Result<Array> {
    let wide = widen(grad)?;
    let mut shape = grad.dims().to_vec();
    shape[dim] = dims[dim];
    let mut sum = if cpu::is_native(&wide) {
        let extents = split(&shape, dim);
        let (index, whole) = whole_rows(index, dim)?;
        with_element!("Gather", wide.dtype(), T => {
            let mut output = vec![T::default(); shape.iter().product()];
            let index = Elements::of(&index)?;
            Elements::of(&wide)?.read(|grad: &[T]| {
                index.read(|index: &[i64]| {
                    select::scatter_add(&mut output, grad, index, extents, whole);
                })
            })??;
            cpu::from_vec(output, shape.as_slice())
        })?
    } else {
        let zeros = Array::zeros(shape.as_slice(), wide.dtype(), wide.device())?;
        zeros.scatter_add(&index.contiguous()?, &wide.contiguous()?, dim)?
    };
    for (axis, size) in dims.iter().enumerate() {
        if sum.dims()[axis] < *size {
            sum = sum.pad_with_zeros(axis, 0, size - sum.dims()[axis])?;
        }
    }
    Ok(sum.to_dtype(grad.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check, here};
    use crate::{DType, Device};

    fn index(values: &[i64], shape: &[usize]) -> Tensor {
        Tensor::constant(Array::from_slice(values, shape, &Device::Cpu).unwrap())
    }

    #[test]
    fn gradient() {
        let picks = index(&[0, 2, 2, 1, 1, 0, 0, 0, 2, 1, 2, 2], &[2, 2, 3]);
        check(Case::of(&[&[2, 3, 3]]), |x| gather(&x[0], &here(&picks), 1));
        check(Case::of(&[&[2, 2, 3]]), |x| gather(&x[0], &here(&picks), -1));
        let fewer = index(&[1, 0, 1, 1, 1, 0], &[1, 3, 2]);
        check(Case::of(&[&[2, 2, 3]]), |x| gather(&x[0], &here(&fewer), 1));
    }

    #[test]
    fn gradient_of_whole_rows() {
        let rows = index(&[3, 0, 0, 1, 1, 1], &[2, 3, 1]);
        check(Case::of(&[&[2, 4, 5]]), |x| {
            let rows = here(&rows).array().broadcast_as((2, 3, 5))?;
            gather(&x[0], &Tensor::constant(rows), 1)
        });
    }

    #[test]
    fn bad_indices_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let refused = |picks: Tensor| gather(&x, &picks, 1).unwrap_err().to_string();
        assert_eq!(refused(index(&[0, 3], &[2, 1])), "Gather: index 3 outside 0..3");
        assert_eq!(refused(index(&[0, -1], &[2, 1])), "Gather: index -1 outside 0..3");
        assert!(refused(index(&[0], &[1])).contains("index [1] for [2, 3]"));
        assert!(refused(index(&[0, 0, 0], &[3, 1])).contains("index [3, 1] for [2, 3]"));
        assert!(refused(x.clone()).contains("F32"));
    }
}
