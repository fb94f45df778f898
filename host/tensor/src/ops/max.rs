//! Largest and smallest along a dimension, and where they are.

use candle_core::WithDType;
use rayon::prelude::*;

use super::shape;
use super::sum::squeeze;
use crate::cpu::{self, Acc, Elements, Real, from_vec, vectorized};
use crate::{Array, DType, Error, Result, Tensor, tape, with_real};

/// Largest along `dim`; NaN counts as the largest. The gradient goes to the first largest.
///
/// # Errors
/// `dim` is outside the rank or has no element.
pub fn max(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    extreme("Max", x, dim, keepdim, true)
}

/// Smallest along `dim`; NaN counts as the smallest. The gradient goes to the first smallest.
///
/// # Errors
/// `dim` is outside the rank or has no element.
pub fn min(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    extreme("Min", x, dim, keepdim, false)
}

fn extreme(op: &'static str, x: &Tensor, dim: i64, keepdim: bool, largest: bool) -> Result<Tensor> {
    let array = x.array();
    let (values, index) = locate(op, &array, dim, largest)?;
    let dim = shape::dim(op, dim, array.rank())?;
    let output = squeeze(values, &[dim], keepdim)?;
    let shape = array.dims().to_vec();
    Ok(tape::record(op, &[x], output, move |grad| {
        let grad = grad.reshape(index.shape())?;
        Ok(vec![Some(place(op, &grad, &index, &shape, dim)?)])
    }))
}

/// The extreme values along a dimension, which stays with size 1, and their first indices (i64).
pub(super) fn locate(
    op: &'static str,
    x: &Array,
    dim: i64,
    largest: bool,
) -> Result<(Array, Array)> {
    let dim = shape::dim(op, dim, x.rank())?;
    if x.dims()[dim] == 0 {
        let found = format!("{:?} along dimension {dim}", x.dims());
        return Err(Error::shape(op, found, "at least one element"));
    }
    if cpu::is_native(x) && x.dtype().is_float() {
        return with_real!(op, x.dtype(), T => kernel::<T>(x, dim, largest));
    }
    portable(x, dim, largest)
}

/// Columns that one task looks at.
const COLUMNS: usize = 1024;

fn kernel<T: Real>(x: &Array, dim: usize, largest: bool) -> Result<(Array, Array)> {
    let (outer, len, inner) = shape::split(x.dims(), dim);
    let mut values = vec![T::zero(); outer * inner];
    let mut indices = vec![0i64; outer * inner];
    let sign = T::Acc::of(if largest { 1.0 } else { -1.0 });
    let mut shape = x.dims().to_vec();
    shape[dim] = 1;
    if values.is_empty() {
        return Ok((from_vec(values, shape.as_slice())?, from_vec(indices, shape)?));
    }
    Elements::of(x)?.read(|x: &[T]| {
        if inner == 1 {
            let slots = values.par_iter_mut().zip(&mut indices).zip(x.par_chunks(len));
            slots.with_min_len(cpu::grain(len)).for_each(|((value, index), row)| {
                let found = vectorized(
                    #[inline(always)]
                    || first_in_row(row, sign),
                );
                (*value, *index) = (row[found], found as i64);
            });
            return;
        }
        values
            .par_chunks_mut(inner)
            .zip(indices.par_chunks_mut(inner))
            .enumerate()
            .with_min_len(cpu::grain(len * inner))
            .for_each(|(block, (values, indices))| {
                let chunks = values.par_chunks_mut(COLUMNS).zip(indices.par_chunks_mut(COLUMNS));
                chunks.enumerate().for_each(|(chunk, (values, indices))| {
                    let x = &x[block * len * inner + chunk * COLUMNS..];
                    vectorized(
                        #[inline(always)]
                        || first_in_columns(values, indices, x, (len, inner), sign),
                    );
                });
            });
    })?;
    Ok((from_vec(values, shape.as_slice())?, from_vec(indices, shape)?))
}

/// The extreme first, then where it is: both loops are vectorised.
#[inline(always)]
fn first_in_row<T: Real>(row: &[T], sign: T::Acc) -> usize {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut best = [T::Acc::LOWEST; 16];
    let mut nan = [false; 16];
    for chunk in chunks {
        for ((best, nan), x) in best.iter_mut().zip(&mut nan).zip(chunk) {
            let x = sign * x.acc();
            *best = if x > *best { x } else { *best };
            *nan |= is_nan(x);
        }
    }
    let (mut most, mut any) = (T::Acc::LOWEST, nan.contains(&true));
    for x in best.into_iter().chain(rest.iter().map(|x| sign * x.acc())) {
        most = if x > most { x } else { most };
        any |= is_nan(x);
    }
    let wanted = |x: &T| if any { is_nan(x.acc()) } else { sign * x.acc() == most };
    row.iter().position(wanted).unwrap_or(0)
}

#[inline(always)]
fn first_in_columns<T: Real>(
    values: &mut [T],
    indices: &mut [i64],
    x: &[T],
    (len, inner): (usize, usize),
    sign: T::Acc,
) {
    let width = values.len();
    values.copy_from_slice(&x[..width]);
    for row in 1..len {
        let x = &x[row * inner..row * inner + width];
        for ((value, index), x) in values.iter_mut().zip(&mut *indices).zip(x) {
            let (best, new) = (sign * value.acc(), sign * x.acc());
            let better = (new > best) | (is_nan(new) & !is_nan(best));
            *value = if better { *x } else { *value };
            *index = if better { row as i64 } else { *index };
        }
    }
}

#[inline(always)]
#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
fn is_nan<A: Acc>(x: A) -> bool {
    x != x
}

fn portable(x: &Array, dim: usize, largest: bool) -> Result<(Array, Array)> {
    let x = &x.contiguous()?;
    let best = if largest { x.max_keepdim(dim)? } else { x.min_keepdim(dim)? };
    let hits = x.broadcast_eq(&best)?;
    let hits = if x.dtype().is_float() {
        let nan = x.ne(x)?;
        let any = nan.max_keepdim(dim)?.broadcast_as(x.shape())?.contiguous()?;
        any.where_cond(&nan, &hits)?
    } else {
        hits
    };
    let positions = positions(x.dims(), dim, x)?;
    let last = Array::full(x.dims()[dim] as u32 - 1, x.shape(), x.device())?;
    let index = hits.where_cond(&positions, &last)?.min_keepdim(dim)?;
    Ok((x.gather(&index, dim)?, index.to_dtype(DType::I64)?))
}

/// The position along `dim` of each element of `shape`, u32, on the device of `like`.
fn positions(shape: &[usize], dim: usize, like: &Array) -> Result<Array> {
    let mut line = vec![1; shape.len()];
    line[dim] = shape[dim];
    let positions = Array::arange(0u32, shape[dim] as u32, like.device())?.reshape(line)?;
    Ok(positions.broadcast_as(shape)?.contiguous()?)
}

/// Zeros of `shape` with each gradient at its index along `dim`.
fn place(
    op: &'static str,
    grad: &Array,
    index: &Array,
    shape: &[usize],
    dim: usize,
) -> Result<Array> {
    if !cpu::is_native(grad) {
        let positions = positions(shape, dim, grad)?;
        let hits = positions.broadcast_eq(&index.to_dtype(DType::U32)?)?;
        let grad = grad.broadcast_as(shape)?.contiguous()?;
        return Ok(hits.where_cond(&grad, &grad.zeros_like()?)?);
    }
    with_real!(op, grad.dtype(), T => place_kernel::<T>(grad, index, shape, dim))
}

fn place_kernel<T: WithDType + Sync + Send>(
    grad: &Array,
    index: &Array,
    shape: &[usize],
    dim: usize,
) -> Result<Array> {
    let (_, len, inner) = shape::split(shape, dim);
    let mut output = vec![T::zero(); shape.iter().product()];
    let (grad, index) = (Elements::of(grad)?, Elements::of(index)?);
    grad.read(|grad: &[T]| {
        index.read(|index: &[i64]| {
            cpu::for_each_row_mut(&mut output, len * inner, |block, output| {
                let of = block * inner..(block + 1) * inner;
                for (column, (grad, index)) in grad[of.clone()].iter().zip(&index[of]).enumerate() {
                    output[*index as usize * inner + column] = *grad;
                }
            });
        })
    })??;
    from_vec(output, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        // bf16 makes ties of values that f64 tells apart.
        let case = || Case::of(&[&[2, 3, 5]]).without_bf16();
        for dim in [0, 1, -1] {
            check(case(), |x| max(&x[0], dim, false));
            check(case(), |x| min(&x[0], dim, true));
        }
    }

    #[test]
    fn the_first_of_equals_takes_the_gradient() {
        for (portable, dtype) in [false, true].into_iter().flat_map(|portable| {
            [DType::F32, DType::F64, DType::BF16].map(|dtype| (portable, dtype))
        }) {
            scope(Mode { portable, ..current() }, || {
                let x = Array::new(&[[2f32, 5.0, 5.0], [1.0, 1.0, 0.0]], &Device::Cpu).unwrap();
                let x = tape::input(x.to_dtype(dtype).unwrap());
                let y = max(&x, 1, false).unwrap();
                let ones = y.array().ones_like().unwrap();
                let grads =
                    tape::backward_from(&[(y, ones)], &[x], &mut Default::default()).unwrap();
                let grad = grads[0].as_ref().unwrap();
                assert_eq!(grad.dtype(), dtype);
                let grad = grad.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
                assert_eq!(grad, [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]);
            });
        }
    }

    /// Long rows and many columns, so that every lane and chunk is met.
    #[test]
    fn every_position_is_found() {
        for position in [0usize, 1, 15, 16, 47, 1000, 1502] {
            let mut values: Vec<f32> = (0..1503).map(|i| (i % 7) as f32).collect();
            for (special, largest) in [(9.0, true), (-9.0, false), (f32::NAN, true)] {
                values[position] = special;
                let row = Array::from_slice(&values, (1, 1503), &Device::Cpu).unwrap();
                for portable in [false, true] {
                    scope(Mode { portable, ..current() }, || {
                        let index = locate("Max", &row, 1, largest).unwrap().1;
                        assert_eq!(index.to_vec2::<i64>().unwrap(), [[position as i64]]);
                        let column = row.t().unwrap().broadcast_as((1503, 3)).unwrap();
                        let (value, index) = locate("Max", &column, 0, largest).unwrap();
                        assert_eq!(index.to_vec2::<i64>().unwrap(), [[position as i64; 3]]);
                        let value = value.to_vec2::<f32>().unwrap()[0][2];
                        assert!(value == special || (value.is_nan() && special.is_nan()));
                    });
                }
            }
        }
    }

    #[test]
    fn nothing_has_no_largest() {
        let x = Tensor::constant(Array::zeros((2, 0), DType::F32, &Device::Cpu).unwrap());
        let message = max(&x, 1, false).unwrap_err().to_string();
        assert_eq!(message, "Max: [2, 0] along dimension 1; expected at least one element");
        assert_eq!(max(&x, 0, false).unwrap().dims(), [0]);
    }
}
