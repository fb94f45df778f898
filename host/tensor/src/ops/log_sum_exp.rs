//! log(sum(exp(x))) along a dimension.

use candle_core::WithDType;

use super::broadcast::float;
use super::precision::wide;
use super::shape;
use super::sum::finish;
use crate::cpu::{self, Acc, Elements, Real, from_vec};
use crate::{Array, Error, Result, Tensor, tape, with_real};

/// log(sum(exp(x))) along `dim`, from x - max(x), so that it never overflows. Half types are computed
/// in f32; under autocast the result stays f32.
///
/// # Errors
/// `dim` is outside the rank or has no element, or the elements are integers.
pub fn log_sum_exp(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    let array = x.array();
    float("LogSumExp", &array)?;
    let dim = shape::dim("LogSumExp", dim, array.rank())?;
    if array.dims()[dim] == 0 {
        let found = format!("{:?} along dimension {dim}", array.dims());
        return Err(Error::shape("LogSumExp", found, "at least one element"));
    }
    let native = cpu::is_native(&array);
    let kept = if native {
        with_real!("LogSumExp", array.dtype(), T => kernel::<T>(&array, dim))?
    } else {
        portable(&array, dim)?
    };
    let output = finish("LogSumExp", kept.clone(), &[dim], keepdim, array.dtype())?;
    Ok(tape::record("LogSumExp", &[x], output, move |grad| {
        let grad = grad.reshape(kept.shape())?;
        // grad softmax(x)
        let grad = if native {
            let grad = grad.broadcast_as(array.shape())?.to_dtype(array.dtype())?;
            with_real!("LogSumExp", array.dtype(), T => kernel_backward::<T>(&array, &kept, &grad))?
        } else {
            let weights = wide(&array)?.broadcast_sub(&kept)?.exp()?;
            weights.broadcast_mul(&wide(&grad)?)?.to_dtype(array.dtype())?
        };
        Ok(vec![Some(grad)])
    }))
}

/// What is subtracted before exp: the largest, or 0 where that is infinite.
#[inline(always)]
fn shift<A: Acc>(largest: A) -> A {
    if largest.f64().is_finite() { largest } else { A::ZERO }
}

fn kernel<T: Real>(x: &Array, dim: usize) -> Result<Array>
where
    T::Acc: WithDType,
{
    let (outer, len, inner) = shape::split(x.dims(), dim);
    let mut output = vec![T::Acc::ZERO; outer * inner];
    Elements::of(x)?.read(|x: &[T]| {
        if inner == 1 {
            let rows = |index: usize| &x[index * len..(index + 1) * len];
            cpu::for_each_row_mut(&mut output, 1, |index, output| {
                output[0] = cpu::vectorized(
                    #[inline(always)]
                    || row(rows(index)),
                );
            });
            return;
        }
        cpu::for_each_row_mut(&mut output, inner, |index, output| {
            let x = &x[index * len * inner..(index + 1) * len * inner];
            cpu::vectorized(
                #[inline(always)]
                || columns(output, x),
            );
        });
    })?;
    let mut shape = x.dims().to_vec();
    shape[dim] = 1;
    from_vec(output, shape)
}

#[inline(always)]
fn row<T: Real>(x: &[T]) -> T::Acc {
    const LANES: usize = 16;
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut most = [T::Acc::LOWEST; LANES];
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = Acc::max(*most, x.acc());
        }
    }
    let most = most.into_iter().chain(rest.iter().map(|x| x.acc())).fold(T::Acc::LOWEST, Acc::max);
    let shift = shift(most);
    let mut sums = [T::Acc::ZERO; LANES];
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += Acc::exp(x.acc() - shift);
        }
    }
    let rest = rest.iter().map(|x| Acc::exp(x.acc() - shift));
    shift + Acc::ln(sums.into_iter().chain(rest).sum::<T::Acc>())
}

/// `output` for all columns at once.
#[inline(always)]
fn columns<T: Real>(output: &mut [T::Acc], x: &[T]) {
    let inner = output.len();
    let mut shifts = vec![T::Acc::LOWEST; inner];
    for x in x.chunks_exact(inner) {
        for (most, x) in shifts.iter_mut().zip(x) {
            *most = Acc::max(*most, x.acc());
        }
    }
    shifts.iter_mut().for_each(|most| *most = shift(*most));
    for x in x.chunks_exact(inner) {
        for ((sum, x), shift) in output.iter_mut().zip(x).zip(&shifts) {
            *sum += Acc::exp(x.acc() - *shift);
        }
    }
    for (sum, shift) in output.iter_mut().zip(&shifts) {
        *sum = *shift + Acc::ln(*sum);
    }
}

fn kernel_backward<T: Real>(x: &Array, output: &Array, grad: &Array) -> Result<Array>
where
    T::Acc: WithDType,
{
    let output = output.broadcast_as(x.shape())?;
    cpu::zip3(
        x,
        &output,
        grad,
        #[inline(always)]
        |x: T, y: T::Acc, grad: T| T::round(grad.acc() * Acc::exp(x.acc() - shift(y))),
    )
}

fn portable(x: &Array, dim: usize) -> Result<Array> {
    let x = wide(x)?;
    let most = x.max_keepdim(dim)?;
    // Infinity minus itself is no number.
    let finite = most.sub(&most)?.eq(0f64)?;
    let shift = finite.where_cond(&most, &most.zeros_like()?)?;
    Ok((x.broadcast_sub(&shift)?.exp()?.sum_keepdim(dim)?.log()? + shift)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        for dim in [0, 1, -1] {
            check(Case::of(&[&[2, 3, 5]]), |x| log_sum_exp(&x[0], dim, false));
        }
        check(Case::of(&[&[3, 37]]).within(-3.0, 3.0), |x| log_sum_exp(&x[0], 1, true));
    }

    #[test]
    fn large_and_infinite_values_are_handled() {
        let low = f32::NEG_INFINITY;
        let x = Array::new(&[[1000f32, 1000.0], [low, 5.0], [low, low]], &Device::Cpu).unwrap();
        for (portable, turned) in [(false, false), (false, true), (true, false), (true, true)] {
            scope(Mode { portable, ..current() }, || {
                let y = if turned {
                    log_sum_exp(&Tensor::constant(x.t().unwrap()), 0, false)
                } else {
                    log_sum_exp(&Tensor::constant(x.clone()), 1, false)
                };
                let y = y.unwrap().array().to_vec1::<f32>().unwrap();
                assert!((y[0] - 1000.6931).abs() < 1e-3);
                assert_eq!(y[1..], [5.0, low]);
            });
        }
    }

    #[test]
    fn autocast_answers_in_f32() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::BF16, &Device::Cpu).unwrap());
        let autocast = Mode { autocast: true, ..current() };
        assert_eq!(scope(autocast, || log_sum_exp(&x, 1, true).unwrap().dtype()), DType::F32);
        assert_eq!(log_sum_exp(&x, 1, true).unwrap().dtype(), DType::BF16);
    }
}
