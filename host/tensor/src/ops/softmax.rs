//! Softmax: e^x / sum(e^x).

use super::precision::wide;
use super::precision::{result_type, with_result};
use super::shape;
use crate::cpu::row::{fold, map_rows_with, sums2, zip_rows};
use crate::cpu::{self, Acc, Aligned, Cast, Real};
use crate::{Array, DType, Result, Tensor, cuda, tape};

/// e^x / sum(e^x) along `dim`, computed from x - max(x). A half type under autocast becomes f32.
///
/// # Errors
/// `dim` is outside the rank, or x is no float.
pub fn softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("Softmax", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("Softmax", array.dtype())?);
    let output = if cpu::is_native(&array) {
        kernel(&array, dim, type_y)?
    } else if cuda::takes(&array) {
        cuda::map_rows(&cuda::files::SOFTMAX, "softmax", &array, dim, type_y)?
    } else {
        portable(&array, dim)?.cast(type_y)?
    };
    let saved = output.clone();
    Ok(tape::record("Softmax", &[x], output, move |grad| {
        Ok(vec![Some(if cpu::is_native(&saved) {
            kernel_backward(&saved, &grad.cast(type_y)?, dim, type_x)?
        } else if cuda::takes(&saved) {
            let grad = grad.cast(type_y)?;
            cuda::differentiate_rows(
                &cuda::files::SOFTMAX,
                "softmax_grad",
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

fn kernel(x: &Array, dim: usize, to: DType) -> Result<Array> {
    let last = x.rank() - 1;
    let x = x.transpose(dim, last)?;
    let powers = x.dims()[last].next_multiple_of(LANES);
    let y = with_result!("Softmax", x.dtype(), to, T, O => map_rows_with(
        &x,
        || Aligned::zeroed(powers),
        #[inline(always)]
        |powers, _, y: &mut [O], x: &[T]| forward_row(powers, y, x),
    ))?;
    Ok(y.transpose(dim, last)?)
}

/// Numbers that are taken together: a register of f32, or two shorter ones.
const LANES: usize = 16;

/// By way of `powers`, which is filled up to whole registers: no element is left over, and a result of
/// a half type is rounded once.
#[inline(always)]
fn forward_row<T: Real, O: Real<Acc = T::Acc>>(powers: &mut [T::Acc], y: &mut [O], x: &[T]) {
    for (power, x) in powers.iter_mut().zip(x) {
        *power = x.acc();
    }
    powers[x.len()..].fill(T::Acc::LOWEST);
    let (powers, _) = powers.as_chunks_mut::<LANES>();
    let mut lanes = [T::Acc::LOWEST; LANES];
    for block in powers.iter() {
        for (most, x) in lanes.iter_mut().zip(block) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    let most = fold(lanes, T::Acc::max);
    let mut lanes = [T::Acc::ZERO; LANES];
    for block in powers.iter_mut() {
        for (sum, x) in lanes.iter_mut().zip(block) {
            *x = (*x - most).exp_below();
            *sum += *x;
        }
    }
    let scale = T::Acc::ONE / fold(lanes, |a, b| a + b);
    for (y, power) in y.iter_mut().zip(powers.as_flattened()) {
        *y = O::round(*power * scale);
    }
}

fn kernel_backward(y: &Array, grad: &Array, dim: usize, to: DType) -> Result<Array> {
    let last = y.rank() - 1;
    let (y, grad) = (y.transpose(dim, last)?, grad.transpose(dim, last)?);
    let grad = with_result!("Softmax", to, y.dtype(), T, O => zip_rows(
        &y,
        &grad,
        #[inline(always)]
        |_, out: &mut [T], y: &[O], grad: &[O]| backward_row(out, y, grad),
    ))?;
    Ok(grad.transpose(dim, last)?)
}

#[inline(always)]
fn backward_row<T: Real, O: Real<Acc = T::Acc>>(out: &mut [T], y: &[O], grad: &[O]) {
    let [along] = sums2(
        y,
        grad,
        #[inline(always)]
        |y, grad| [y.acc() * grad.acc()],
    );
    for ((out, y), grad) in out.iter_mut().zip(y).zip(grad) {
        *out = T::round(y.acc() * (grad.acc() - along));
    }
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
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]), |x| softmax(&x[0], -1));
        check(Case::of(&[&[2, 3, 4]]), |x| softmax(&x[0], 1));
        check(Case::of(&[&[3, 37]]).within(-3.0, 3.0), |x| softmax(&x[0], 1));
        check(Case::of(&[&[2, 140]]).within(-3.0, 3.0), |x| softmax(&x[0], 1));
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
