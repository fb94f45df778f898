//! Running sums.

use super::broadcast::float;
use super::precision::{result_type, wide};
use super::shape;
use crate::cpu::{self, Acc, Elements, Real, from_vec};
use crate::{Array, Result, Tensor, tape, with_real};

/// Running sum along `dim`. Half types are added up in f32; under autocast the result stays f32.
///
/// # Errors
/// `dim` is outside the rank, or the elements are integers.
pub fn cum_sum(x: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    float("CumSum", &array)?;
    let dim = shape::dim("CumSum", dim, array.rank())?;
    let (type_x, type_y) = (array.dtype(), result_type("CumSum", array.dtype())?);
    let output = scan(&array.to_dtype(type_y)?, dim, false)?;
    Ok(tape::record("CumSum", &[x], output, move |grad| {
        Ok(vec![Some(scan(grad, dim, true)?.to_dtype(type_x)?)])
    }))
}

/// Running sums from the start or from the end.
fn scan(x: &Array, dim: usize, from_end: bool) -> Result<Array> {
    if cpu::is_native(x) {
        return with_real!("CumSum", x.dtype(), T => kernel::<T>(x, dim, from_end));
    }
    portable(x, dim, from_end)
}

fn kernel<T: Real>(x: &Array, dim: usize, from_end: bool) -> Result<Array> {
    let (_, len, inner) = shape::split(x.dims(), dim);
    let mut output = cpu::unwritten::<T>(x.elem_count());
    Elements::of(x)?.read(|x: &[T]| {
        cpu::for_each_row(&mut output, len * inner, x, len * inner, |_, output, x| {
            let mut sums = vec![T::Acc::ZERO; inner];
            for step in 0..len {
                let step = if from_end { len - 1 - step } else { step };
                let row = step * inner..(step + 1) * inner;
                let slots = output[row.clone()].iter_mut().zip(&x[row]);
                for (sum, (slot, x)) in sums.iter_mut().zip(slots) {
                    *sum += x.acc();
                    *slot = T::round(*sum);
                }
            }
        });
    })?;
    from_vec(output, x.shape())
}

/// By doubling: after step k each element holds the sum of the last 2^k.
fn portable(x: &Array, dim: usize, from_end: bool) -> Result<Array> {
    let len = x.dims()[dim];
    let mut sums = wide(x)?;
    let mut distance = 1;
    while distance < len {
        let shifted = if from_end {
            sums.narrow(dim, distance, len - distance)?.pad_with_zeros(dim, 0, distance)?
        } else {
            sums.narrow(dim, 0, len - distance)?.pad_with_zeros(dim, distance, 0)?
        };
        sums = (sums + shifted)?;
        distance *= 2;
    }
    Ok(sums.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        for dim in [0, 1, -1] {
            check(Case::of(&[&[2, 3, 5]]), |x| super::cum_sum(&x[0], dim));
        }
    }
}
