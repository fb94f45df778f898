//! Addition at chosen entries of one dimension.

use super::gather::{fits, take, whole_rows};
use super::index::{checked, widen};
use super::shape::{self, split};
use crate::cpu::{self, Elements, select};
use crate::{Array, Error, Result, Tensor, tape, with_element};

/// `x` with `source` added at `index` (i64) along `dim`: out\[..index\[..i..\]..\] += source\[..i..\].
/// `index` and `source` have one shape, at most that of x but for `dim`; equal indices add up.
///
/// # Errors
/// The shapes or types do not fit, or an index lies outside the dimension.
pub fn scatter_add(x: &Tensor, index: &Tensor, source: &Tensor, dim: i64) -> Result<Tensor> {
    const OP: &str = "ScatterAdd";
    let (array, source_array) = (x.array(), source.array());
    let dim = shape::dim(OP, dim, array.rank())?;
    if index.dims() != source_array.dims() {
        let found = format!("index {:?} and source {:?}", index.dims(), source_array.dims());
        return Err(Error::shape(OP, found, "one shape"));
    }
    fits(OP, &index.dims(), array.dims(), dim)?;
    let index = checked(OP, index, array.dims()[dim])?;
    let dtype = source_array.dtype();
    if !dtype.is_float() && dtype != array.dtype() {
        return Err(Error::Type { op: OP, found: dtype, expected: "a source of the type of x" });
    }
    let output = put(&array, &index, &source_array, dim)?;
    let needs = (x.is_tracked(), source.is_tracked());
    Ok(tape::record(OP, &[x, source], output, move |grad| {
        let from = || cpu::convert(&take(grad, &index, dim)?, dtype);
        Ok(vec![needs.0.then(|| grad.clone()), needs.1.then(from).transpose()?])
    }))
}

fn put(x: &Array, index: &Array, source: &Array, dim: usize) -> Result<Array> {
    let wide = widen(x)?;
    // Zeros at entry 0 change nothing, and let smaller sources share the kernel.
    let (mut index, mut source) = (index.clone(), source.to_dtype(wide.dtype())?);
    for axis in (0..x.rank()).filter(|axis| *axis != dim) {
        let missing = x.dims()[axis] - index.dims()[axis];
        if missing > 0 {
            index = index.pad_with_zeros(axis, 0, missing)?;
            source = source.pad_with_zeros(axis, 0, missing)?;
        }
    }
    let sum = if cpu::is_native(&wide) {
        let extents = split(x.dims(), dim);
        let (index, whole) = whole_rows(&index, dim)?;
        with_element!("ScatterAdd", wide.dtype(), T => {
            let mut output = Elements::of(&wide)?.read(|x: &[T]| x.to_vec())?;
            let index = Elements::of(&index)?;
            Elements::of(&source)?.read(|source: &[T]| {
                index.read(|index: &[i64]| {
                    select::scatter_add(&mut output, source, index, extents, whole);
                })
            })??;
            cpu::from_vec(output, x.shape())
        })?
    } else {
        wide.contiguous()?.scatter_add(&index.contiguous()?, &source.contiguous()?, dim)?
    };
    Ok(sum.to_dtype(x.dtype())?)
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
        let places = index(&[0, 2, 2, 1, 1, 0, 0, 0, 2, 1, 2, 2], &[2, 2, 3]);
        check(Case::of(&[&[2, 3, 3], &[2, 2, 3]]), |x| {
            scatter_add(&x[0], &here(&places), &x[1], 1)
        });
        check(Case::of(&[&[2, 2, 3], &[2, 2, 3]]), |x| {
            scatter_add(&x[0], &here(&places), &x[1], 2)
        });
        let fewer = index(&[1, 0, 1, 1, 1, 0], &[1, 3, 2]);
        check(Case::of(&[&[2, 2, 3], &[1, 3, 2]]), |x| scatter_add(&x[0], &here(&fewer), &x[1], 1));
        let rows = index(&[3, 0, 0, 1, 1, 1], &[2, 3, 1]);
        check(Case::of(&[&[2, 4, 5], &[2, 3, 5]]), |x| {
            let rows = here(&rows).array().broadcast_as((2, 3, 5))?;
            scatter_add(&x[0], &Tensor::constant(rows), &x[1], 1)
        });
    }

    #[test]
    fn bad_inputs_are_refused() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let x = zeros(&[2, 3]);
        let refused = |picks: Tensor, source: &Tensor| {
            scatter_add(&x, &picks, source, 1).unwrap_err().to_string()
        };
        let outside = refused(index(&[0, 3], &[2, 1]), &zeros(&[2, 1]));
        assert_eq!(outside, "ScatterAdd: index 3 outside 0..3");
        assert!(refused(index(&[0, 0], &[2, 1]), &x).contains("index [2, 1] and source [2, 3]"));
        assert!(refused(index(&[0; 3], &[3, 1]), &zeros(&[3, 1])).contains("index [3, 1]"));
        let counts = Tensor::constant(Array::zeros((2, 3), DType::I64, &Device::Cpu).unwrap());
        let ones = Tensor::constant(Array::ones((2, 2), DType::I64, &Device::Cpu).unwrap());
        let counted = scatter_add(&counts, &index(&[0, 0, 1, 2], &[2, 2]), &ones, 1).unwrap();
        assert_eq!(counted.array().to_vec2::<i64>().unwrap(), [[2, 0, 0], [0, 1, 1]]);
    }
}
