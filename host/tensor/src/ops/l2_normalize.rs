//! Scaling to unit length: x / max(||x||_2, eps).

use super::precision::wide;
use super::precision::{result_type, with_result};
use super::shape;
use crate::cpu::row::{map_rows, reduce_rows, sums, sums2, zip_rows};
use crate::cpu::{self, Acc, Cast, Elements, Real};
use crate::{Array, DType, Result, Tensor, tape};

/// x / max(||x||_2, eps) along `dim`. A half type under autocast becomes f32.
///
/// # Errors
/// `dim` is outside the rank, or x is no float.
pub fn l2_normalize(x: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("L2Normalize", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("L2Normalize", array.dtype())?);
    let (output, norm) = if cpu::is_native(&array) {
        kernel(&array, dim, eps, type_y)?
    } else {
        let (output, norm) = portable(&array, dim, eps)?;
        (output.cast(type_y)?, norm)
    };
    let saved = output.clone();
    Ok(tape::record("L2Normalize", &[x], output, move |grad| {
        Ok(vec![Some(if cpu::is_native(&saved) {
            kernel_backward(&saved, &norm, &grad.cast(type_y)?, dim, eps, type_x)?
        } else {
            portable_backward(&saved, &norm, grad, dim, eps)?.cast(type_x)?
        })])
    }))
}

/// y, and the norms row by row with `dim` last.
fn kernel(x: &Array, dim: usize, eps: f64, to: DType) -> Result<(Array, Array)> {
    let last = x.rank() - 1;
    let x = x.transpose(dim, last)?.contiguous()?;
    let (y, norm) = with_result!("L2Normalize", x.dtype(), to, T, O => {
        let least = <T as Real>::Acc::of(eps);
        let norm = reduce_rows(
            &x,
            #[inline(always)]
            |_, x: &[T]| {
                let [square] = sums(x, #[inline(always)] |x| [x.acc() * x.acc()]);
                square.sqrt()
            },
        )?;
        let y = map_rows(
            &x,
            #[inline(always)]
            |row, y: &mut [O], x: &[T]| {
                let scale = <T as Real>::Acc::ONE / norm[row].max(least);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = <O as Real>::round(x.acc() * scale);
                }
            },
        )?;
        let rows = norm.len();
        Ok((y, cpu::from_vec(norm, rows)?))
    })?;
    Ok((y.transpose(dim, last)?, norm))
}

fn kernel_backward(
    y: &Array,
    norm: &Array,
    grad: &Array,
    dim: usize,
    eps: f64,
    to: DType,
) -> Result<Array> {
    let last = y.rank() - 1;
    let (y, grad) = (y.transpose(dim, last)?, grad.transpose(dim, last)?);
    let norm = Elements::of(norm)?;
    let grad = with_result!("L2Normalize", to, y.dtype(), T, O => norm.read(|norm: &[<T as Real>::Acc]| {
        let least = <T as Real>::Acc::of(eps);
        zip_rows(
            &y,
            &grad,
            #[inline(always)]
            |row, out: &mut [T], y: &[O], grad: &[O]| {
                let [mut along] = sums2(y, grad, #[inline(always)] |y, grad| [y.acc() * grad.acc()]);
                if norm[row] < least {
                    along = <T as Real>::Acc::ZERO;
                }
                let scale = <T as Real>::Acc::ONE / norm[row].max(least);
                for ((out, y), grad) in out.iter_mut().zip(y).zip(grad) {
                    *out = <T as Real>::round((grad.acc() - y.acc() * along) * scale);
                }
            },
        )
    })?)?;
    Ok(grad.transpose(dim, last)?)
}

/// y and the norms (size 1 along `dim`); in f32 (f64 for f64).
fn portable(x: &Array, dim: usize, eps: f64) -> Result<(Array, Array)> {
    let x = wide(x)?;
    let norm = x.sqr()?.sum_keepdim(dim)?.sqrt()?;
    Ok((x.broadcast_div(&norm.maximum(eps)?)?, norm))
}

/// (grad - y sum(y grad)) / ||x||, or grad / eps where the norm is below eps.
fn portable_backward(y: &Array, norm: &Array, grad: &Array, dim: usize, eps: f64) -> Result<Array> {
    let (y, grad) = (wide(y)?, wide(grad)?);
    let counts = norm.ge(eps)?.cast(DType::F32)?.cast(norm.dtype())?;
    let along = ((&y * &grad)?.sum_keepdim(dim)? * counts)?;
    Ok((grad - y.broadcast_mul(&along)?)?.broadcast_div(&norm.maximum(eps)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Device, backward};

    #[test]
    fn gradient() {
        check(Case::of(&[&[3, 5]]), |x| l2_normalize(&x[0], -1, 1e-12));
        check(Case::of(&[&[2, 3, 4]]), |x| l2_normalize(&x[0], 1, 1e-12));
        check(Case::of(&[&[2, 37]]), |x| l2_normalize(&x[0], 1, 1e-6));
        // Every norm is below eps: a mere division.
        check(Case::of(&[&[2, 4]]), |x| l2_normalize(&x[0], 1, 10.0));
    }

    #[test]
    fn a_row_of_zeros_stays_zero_with_a_finite_gradient() {
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let x = Array::new(&[[0f32, 0.0], [3.0, 4.0]], &Device::Cpu).unwrap();
                let x = crate::Parameter::trainable("x", x);
                let y = l2_normalize(&Tensor::parameter(&x), 1, 1e-3).unwrap();
                let rows = y.array().to_vec2::<f32>().unwrap();
                assert_eq!(rows[0], [0.0, 0.0]);
                assert!((rows[1][0] - 0.6).abs() < 1e-6);
                let ones = Tensor::constant(Array::ones((2, 1), DType::F32, &Device::Cpu).unwrap());
                let row = Tensor::constant(Array::ones((1, 2), DType::F32, &Device::Cpu).unwrap());
                let sum = crate::ops::matmul(&crate::ops::matmul(&row, &y).unwrap(), &ones);
                let grad = backward(&sum.unwrap()).unwrap().get(&x).unwrap().clone();
                let grad = grad.to_vec2::<f32>().unwrap();
                assert!((grad[0][0] - 1000.0).abs() < 1e-2, "{grad:?}");
            });
        }
    }
}
