//! Sums over any set of dimensions.
//!
//! Work is cut at fixed places, whatever the number of threads, so the same input gives the same bits.

use candle_core::WithDType;
use rayon::prelude::*;

use super::{Acc, Elements, Real, from_vec, vectorized};
use crate::reduction::{groups, last_reduced};
use crate::{Array, Result};

/// Terms that one task adds up.
const TERMS: usize = 32_768;
/// Columns that one task holds sums of.
const COLUMNS: usize = 4096;
/// Rows that are added to one sum in turn; more go by partial sums, whose errors grow slower.
const ROWS: usize = 512;
/// Independent sums along one row, enough for the vector units.
const LANES: usize = 32;

/// `scale` times the sum over `dims` (which stay, of size 1), in the type of the accumulator.
pub fn sum<T: Real>(x: &Array, dims: &[usize], scale: f64) -> Result<Array>
where
    T::Acc: WithDType,
{
    sum_terms::<T>(x, dims, scale, |x| x)
}

/// [`sum`] of f(x).
pub fn sum_terms<T: Real>(
    x: &Array,
    dims: &[usize],
    scale: f64,
    f: impl Fn(T::Acc) -> T::Acc + Sync,
) -> Result<Array>
where
    T::Acc: WithDType,
{
    let mut groups = groups(x.dims(), dims);
    let mut sums = Elements::of(x)?.read(|elements: &[T]| {
        let f = std::convert::identity(
            #[inline(always)]
            |x: T| f(x.acc()),
        );
        let (outer, terms, inner) = last_reduced(&mut groups).unwrap_or((elements.len(), 1, 1));
        add_up(elements, (outer, terms, inner), &f)
    })?;
    while let Some(sizes) = last_reduced(&mut groups) {
        sums = add_up(&sums, sizes, &same);
    }
    if scale != 1.0 {
        let scale = T::Acc::of(scale);
        sums.iter_mut().for_each(|sum| *sum *= scale);
    }
    let mut shape = x.dims().to_vec();
    dims.iter().for_each(|dim| shape[*dim] = 1);
    from_vec(sums, shape)
}

#[inline(always)]
fn same<A>(x: A) -> A {
    x
}

/// Sums of a row-major (outer, terms, inner) over its middle.
fn add_up<E: Copy + Sync, A: Acc>(
    x: &[E],
    (outer, terms, inner): (usize, usize, usize),
    f: &(impl Fn(E) -> A + Sync),
) -> Vec<A> {
    if outer * inner == 0 || terms == 0 {
        return vec![A::ZERO; outer * inner];
    }
    // Rows of `inner` sums, each from at most `most` rows of `inner` terms.
    let most = if inner == 1 { TERMS } else { (TERMS / inner.min(COLUMNS)).clamp(1, ROWS) };
    let blocks = terms.div_ceil(most);
    let mut partial = vec![A::ZERO; outer * blocks * inner];
    let work = most.min(terms) * inner;
    partial.par_chunks_mut(inner).enumerate().with_min_len((TERMS / work).max(1)).for_each(
        |(task, sums)| {
            let (row, block) = (task / blocks, task % blocks);
            let from = (row * terms + block * most) * inner;
            let count = most.min(terms - block * most);
            let x = &x[from..from + count * inner];
            if inner == 1 {
                sums[0] = vectorized(
                    #[inline(always)]
                    || add_row(x, f),
                );
                return;
            }
            sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, sums)| {
                vectorized(
                    #[inline(always)]
                    || add_columns(sums, &x[chunk * COLUMNS..], inner, count, f),
                );
            });
        },
    );
    if blocks == 1 { partial } else { add_up(&partial, (outer, blocks, inner), &same::<A>) }
}

#[inline(always)]
fn add_row<E: Copy, A: Acc>(x: &[E], f: &impl Fn(E) -> A) -> A {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [A::ZERO; LANES];
    for chunks in chunks.chunks(LANES) {
        let mut few = [A::ZERO; LANES];
        for chunk in chunks {
            for (lane, x) in few.iter_mut().zip(chunk) {
                *lane += f(*x);
            }
        }
        for (lane, few) in lanes.iter_mut().zip(few) {
            *lane += few;
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    rest.iter().fold(lanes[0], |sum, x| sum + f(*x))
}

/// Adds `count` rows, `stride` apart, to `sums`; four at a time, so that sums are loaded less often.
#[inline(always)]
fn add_columns<E: Copy, A: Acc>(
    sums: &mut [A],
    x: &[E],
    stride: usize,
    count: usize,
    f: &impl Fn(E) -> A,
) {
    let width = sums.len();
    let row = |index: usize| &x[index * stride..index * stride + width];
    let mut index = 0;
    while index + 4 <= count {
        let rows = [row(index), row(index + 1), row(index + 2), row(index + 3)];
        for (column, sum) in sums.iter_mut().enumerate() {
            let terms = [0, 1, 2, 3].map(|i: usize| f(rows[i][column]));
            *sum += (terms[0] + terms[1]) + (terms[2] + terms[3]);
        }
        index += 4;
    }
    for index in index..count {
        for (sum, x) in sums.iter_mut().zip(row(index)) {
            *sum += f(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    /// Every set of dimensions, with sizes beyond one task, against candle in f64.
    #[test]
    fn sums_agree_over_any_dimensions() {
        let shape = [3usize, 50, 7, 90];
        let x = crate::gate::noise(shape.as_slice()).to_dtype(crate::DType::F64).unwrap();
        for set in 0..16usize {
            let dims: Vec<usize> = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
            let found = sum::<f64>(&x, &dims, 0.5).unwrap();
            let expected = (x.sum_keepdim(dims.as_slice()).unwrap() * 0.5).unwrap();
            assert_eq!(found.dims(), expected.dims());
            let error = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap();
            assert!(error.max(0).unwrap().to_scalar::<f64>().unwrap() < 1e-10, "{dims:?}");
        }
    }

    #[test]
    fn long_sums_keep_their_digits() {
        let x = Array::full(0.1f32, (3, 1_000_000), &Device::Cpu).unwrap();
        for dims in [&[0usize, 1][..], &[1]] {
            let found = sum::<f32>(&x, dims, 1e-5).unwrap().flatten_all().unwrap();
            let found = found.to_vec1::<f32>().unwrap()[0];
            let expected = if dims.len() == 2 { 3.0 } else { 1.0 };
            assert!((found - expected).abs() < 2e-6 * expected, "{found}");
        }
        let x = Array::full(1f32, (1000, 9000), &Device::Cpu).unwrap();
        let found = sum::<f32>(&x, &[0], 1.0).unwrap().flatten_all().unwrap();
        assert!(found.to_vec1::<f32>().unwrap().iter().all(|sum| *sum == 1000.0));
    }
}
