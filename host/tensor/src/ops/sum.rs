//! Sum over dimensions.

use super::precision::{result_type, wide};
use super::shape;
use crate::{Array, DType, Result, Tensor, cpu, cuda, tape, with_real};

/// Sum over `dims` (all if empty). Half types are added up in f32; under autocast the result stays f32.
///
/// # Errors
/// A dimension does not exist or repeats.
pub fn sum(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    scaled_sum("Sum", x, dims, keepdim, |_| 1.0)
}

/// `scale(number of terms)` times the sum.
pub(crate) fn scaled_sum(
    op: &'static str,
    x: &Tensor,
    dims: &[i64],
    keepdim: bool,
    scale: impl FnOnce(usize) -> f64,
) -> Result<Tensor> {
    let array = x.array();
    let dims = shape::dims(op, dims, array.rank())?;
    let shape = array.dims().to_vec();
    let scale = scale(dims.iter().map(|dim| shape[*dim]).product());
    let kept = total(op, &array, &dims, scale)?;
    let kept_shape = kept.dims().to_vec();
    let output = finish(op, kept, &dims, keepdim, array.dtype())?;
    let dtype = array.dtype();
    Ok(tape::record(op, &[x], output, move |grad| {
        let grad = super::affine::scaled(grad, scale, 0.0)?.to_dtype(dtype)?;
        Ok(vec![Some(grad.reshape(kept_shape)?.broadcast_as(shape)?)])
    }))
}

/// `scale` times the sum over `dims`, which stay with size 1; sums of half types are f32.
pub(crate) fn total(op: &'static str, x: &Array, dims: &[usize], scale: f64) -> Result<Array> {
    if cpu::is_native(x) && x.dtype().is_float() {
        return with_real!(op, x.dtype(), T => cpu::sum::<T>(x, dims, scale));
    }
    if cuda::takes(x) {
        return cuda::sum(x, dims, scale);
    }
    let sum = if x.dtype().is_float() { wide(x)? } else { x.clone() }.sum_keepdim(dims)?;
    if scale == 1.0 { Ok(sum) } else { Ok((sum * scale)?) }
}

/// The result of a reduction in the shape and type in which it is returned: dimensions of size 1
/// go unless `keepdim`; the input's type, but f32 for half types under autocast.
pub(crate) fn finish(
    op: &'static str,
    kept: Array,
    dims: &[usize],
    keepdim: bool,
    dtype: DType,
) -> Result<Array> {
    let kept = if dtype.is_float() { kept.to_dtype(result_type(op, dtype)?)? } else { kept };
    squeeze(kept, dims, keepdim)
}

/// Takes the dimensions of size 1 out that a reduction left, unless they are to stay.
pub(crate) fn squeeze(kept: Array, dims: &[usize], keepdim: bool) -> Result<Array> {
    if keepdim {
        return Ok(kept);
    }
    let shape: Vec<usize> =
        (0..kept.rank()).filter(|dim| !dims.contains(dim)).map(|dim| kept.dims()[dim]).collect();
    Ok(kept.reshape(shape)?)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Array, DType, Device, Tensor};

    #[test]
    fn gradient() {
        let shape: &[&[usize]] = &[&[2, 3, 4]];
        for dims in [&[][..], &[-1], &[0], &[1], &[0, 2], &[0, 1]] {
            check(Case::of(shape), |x| super::sum(&x[0], dims, false));
            check(Case::of(shape), |x| super::sum(&x[0], dims, true));
        }
    }

    #[test]
    fn bf16_is_added_up_in_f32() {
        let ones = Tensor::constant(Array::ones(1000, DType::BF16, &Device::Cpu).unwrap());
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let sum = super::sum(&ones, &[], false).unwrap();
                assert_eq!((sum.dtype(), sum.scalar().unwrap()), (DType::BF16, 1000.0));
            });
            scope(Mode { portable, autocast: true, ..current() }, || {
                assert_eq!(super::sum(&ones, &[0], true).unwrap().dtype(), DType::F32);
            });
        }
    }

    #[test]
    fn integers_are_added_up_as_they_are() {
        let x = Tensor::constant(Array::new(&[[1i64, 2], [3, 4]], &Device::Cpu).unwrap());
        let sum = super::sum(&x, &[0], false).unwrap();
        assert_eq!(sum.array().to_vec1::<i64>().unwrap(), [4, 6]);
    }

    #[test]
    fn dimensions_that_are_not_there_are_named() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let message = super::sum(&x, &[2], false).unwrap_err().to_string();
        assert!(message.contains("dimension 2 of a tensor of rank 2"), "{message}");
        assert!(super::sum(&x, &[1, -1], false).is_err());
    }
}
