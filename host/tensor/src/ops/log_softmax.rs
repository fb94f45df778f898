//! Logarithm of the softmax: x - log(sum(e^x)).

use super::precision::wide;
use super::precision::{result_type, with_result};
use super::shape;
use crate::cpu::row::{largest, map_rows, sums, zip_rows};
use crate::cpu::{self, Acc, Cast, Real};
use crate::{Array, DType, Result, Tensor, cuda, tape};

/// x - log(sum(e^x)) along `dim`, computed from x - max(x). A half type under autocast becomes f32.
///
/// # Errors
/// `dim` is outside the rank, or x is no float.
pub fn log_softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("LogSoftmax", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("LogSoftmax", array.dtype())?);
    let output = if cpu::is_native(&array) {
        kernel(&array, dim, type_y)?
    } else if cuda::takes(&array) {
        cuda::map_rows(&cuda::files::LOG_SOFTMAX, "log_softmax", &array, dim, type_y)?
    } else {
        portable(&array, dim)?.cast(type_y)?
    };
    let saved = output.clone();
    Ok(tape::record("LogSoftmax", &[x], output, move |grad| {
        Ok(vec![Some(if cpu::is_native(&saved) {
            kernel_backward(&saved, &grad.cast(type_y)?, dim, type_x)?
        } else if cuda::takes(&saved) {
            let grad = grad.cast(type_y)?;
            cuda::differentiate_rows(
                &cuda::files::LOG_SOFTMAX,
                "log_softmax_grad",
                &saved,
                &grad,
                dim,
                type_x,
            )?
        } else {
            portable_backward(&saved, grad, dim)?.cast(type_x)?
        })])
    }))
}

/// log(sum(e^(x scale))) of a row.
#[inline(always)]
pub(super) fn log_sum_exp<T: Real>(x: &[T], scale: T::Acc) -> T::Acc {
    let most = largest(x) * scale;
    let [sum] = sums(
        x,
        #[inline(always)]
        |x| [(x.acc() * scale - most).exp()],
    );
    most + sum.ln()
}

fn kernel(x: &Array, dim: usize, to: DType) -> Result<Array> {
    let last = x.rank() - 1;
    let x = x.transpose(dim, last)?;
    let y = with_result!("LogSoftmax", x.dtype(), to, T, O => map_rows(
        &x,
        #[inline(always)]
        |_, y: &mut [O], x: &[T]| forward_row(y, x),
    ))?;
    Ok(y.transpose(dim, last)?)
}

#[inline(always)]
fn forward_row<T: Real, O: Real<Acc = T::Acc>>(y: &mut [O], x: &[T]) {
    let most = largest(x);
    let [sum] = sums(
        x,
        #[inline(always)]
        |x| [(x.acc() - most).exp()],
    );
    // Not log-sum-exp in one number: for large |x| that would round away log(sum).
    let log_sum = sum.ln();
    for (y, x) in y.iter_mut().zip(x) {
        *y = O::round((x.acc() - most) - log_sum);
    }
}

fn kernel_backward(y: &Array, grad: &Array, dim: usize, to: DType) -> Result<Array> {
    let last = y.rank() - 1;
    let (y, grad) = (y.transpose(dim, last)?, grad.transpose(dim, last)?);
    let grad = with_result!("LogSoftmax", to, y.dtype(), T, O => zip_rows(
        &y,
        &grad,
        #[inline(always)]
        |_, out: &mut [T], y: &[O], grad: &[O]| backward_row(out, y, grad),
    ))?;
    Ok(grad.transpose(dim, last)?)
}

#[inline(always)]
fn backward_row<T: Real, O: Real<Acc = T::Acc>>(out: &mut [T], y: &[O], grad: &[O]) {
    let [total] = sums(
        grad,
        #[inline(always)]
        |grad| [grad.acc()],
    );
    for ((out, y), grad) in out.iter_mut().zip(y).zip(grad) {
        *out = T::round(grad.acc() - y.acc().exp() * total);
    }
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
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

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
