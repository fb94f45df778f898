//! Softmax: e^x / sum(e^x).

use super::precision::{result_type, wide};
use super::shape;
use crate::{Array, Result, Tensor, tape};

/// e^x / sum(e^x) along `dim`, computed from x - max(x). A half type under autocast becomes f32.
///
/// # Errors
/// `dim` is outside the rank, or x is no float.
pub fn softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("Softmax", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("Softmax", array.dtype())?);
    let output = portable(&array, dim)?.to_dtype(type_y)?;
    let saved = output.clone();
    Ok(tape::record("Softmax", &[x], output, move |grad| {
        Ok(vec![Some(portable_backward(&saved, grad, dim)?.to_dtype(type_x)?)])
    }))
}

/// In f32 (f64 for f64).
pub(super) fn portable(x: &Array, dim: usize) -> Result<Array> {
    let x = wide(x)?;
    if x.elem_count() == 0 {
        return Ok(x);
    }
    let powers = x.broadcast_sub(&x.max_keepdim(dim)?)?.exp()?;
    Ok(powers.broadcast_div(&powers.sum_keepdim(dim)?)?)
}

/// y (grad - sum(y grad)).
pub(super) fn portable_backward(y: &Array, grad: &Array, dim: usize) -> Result<Array> {
    let (y, grad) = (wide(y)?, wide(grad)?);
    let weighted = (&y * &grad)?;
    Ok((&weighted - y.broadcast_mul(&weighted.sum_keepdim(dim)?)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]), |x| softmax(&x[0], -1));
        check(Case::of(&[&[2, 3, 4]]), |x| softmax(&x[0], 1));
        check(Case::of(&[&[3, 37]]).within(-3.0, 3.0), |x| softmax(&x[0], 1));
    }

    #[test]
    fn large_values_and_masked_entries_stay_finite() {
        let x = Array::new(&[[1000f32, 999.0], [f32::NEG_INFINITY, 5.0]], &Device::Cpu).unwrap();
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let y = softmax(&Tensor::constant(x.clone()), 1).unwrap().array();
                let y = y.to_vec2::<f32>().unwrap();
                assert!((y[0][0] - 0.731_058_6).abs() < 1e-6, "{y:?}");
                assert_eq!(y[1], [0.0, 1.0]);
            });
        }
    }

    #[test]
    fn autocast_answers_in_f32() {
        let x = Array::zeros((2, 3), DType::BF16, &Device::Cpu).unwrap();
        let x = Tensor::constant(x);
        assert_eq!(softmax(&x, 1).unwrap().dtype(), DType::BF16);
        let autocast = Mode { autocast: true, ..current() };
        assert_eq!(scope(autocast, || softmax(&x, 1).unwrap().dtype()), DType::F32);
    }

    #[test]
    fn bad_input_is_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::I64, &Device::Cpu).unwrap());
        assert!(softmax(&x, 1).unwrap_err().to_string().contains("I64"));
        assert!(softmax(&x, 2).unwrap_err().to_string().contains("dimension 2"));
    }
}
