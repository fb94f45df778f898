//! Logarithm of the softmax: x - log(sum(e^x)).

use super::precision::{result_type, wide};
use super::shape;
use crate::{Array, Result, Tensor, tape};

/// x - log(sum(e^x)) along `dim`, computed from x - max(x). A half type under autocast becomes f32.
///
/// # Errors
/// `dim` is outside the rank, or x is no float.
pub fn log_softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("LogSoftmax", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("LogSoftmax", array.dtype())?);
    let output = portable(&array, dim)?.to_dtype(type_y)?;
    let saved = output.clone();
    Ok(tape::record("LogSoftmax", &[x], output, move |grad| {
        Ok(vec![Some(portable_backward(&saved, grad, dim)?.to_dtype(type_x)?)])
    }))
}

/// In f32 (f64 for f64).
pub(super) fn portable(x: &Array, dim: usize) -> Result<Array> {
    let x = wide(x)?;
    if x.elem_count() == 0 {
        return Ok(x);
    }
    let centred = x.broadcast_sub(&x.max_keepdim(dim)?)?;
    let log_sum = centred.exp()?.sum_keepdim(dim)?.log()?;
    Ok(centred.broadcast_sub(&log_sum)?)
}

/// grad - e^y sum(grad).
fn portable_backward(y: &Array, grad: &Array, dim: usize) -> Result<Array> {
    let (y, grad) = (wide(y)?, wide(grad)?);
    let total = grad.sum_keepdim(dim)?;
    Ok((&grad - y.exp()?.broadcast_mul(&total)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]), |x| log_softmax(&x[0], -1));
        check(Case::of(&[&[2, 3, 4]]), |x| log_softmax(&x[0], 1));
        check(Case::of(&[&[3, 37]]).within(-3.0, 3.0), |x| log_softmax(&x[0], 1));
    }

    #[test]
    fn large_values_stay_finite() {
        let x = Array::new(&[[1000f32, 0.0], [-1000.0, -1000.0]], &Device::Cpu).unwrap();
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let y = log_softmax(&Tensor::constant(x.clone()), 1).unwrap().array();
                let y = y.to_vec2::<f32>().unwrap();
                assert_eq!(y[0], [0.0, -1000.0]);
                assert!((y[1][0] + 2f32.ln()).abs() < 1e-6, "{y:?}");
            });
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::U8, &Device::Cpu).unwrap());
        assert!(log_softmax(&x, 1).unwrap_err().to_string().contains("U8"));
        assert!(log_softmax(&x, -3).unwrap_err().to_string().contains("dimension -3"));
    }
}
