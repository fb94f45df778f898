//! Kernels that walk the rows (last dimension) of arrays, and reductions over one row.
//!
//! A reduction keeps `LANES` interleaved partial results, so that the loop vectorises and the order
//! of additions depends on the row's length alone.

use rayon::prelude::*;

use super::{Acc, Elements, Real, from_vec, grain, is_rounded, unwritten, vectorized};
use crate::{Array, Result};

/// An array of x's shape, each row made from the row of x: `f(index, out, x)`.
pub fn map_rows<T: Real, O: Real>(
    x: &Array,
    f: impl Fn(usize, &mut [O], &[T]) + Sync,
) -> Result<Array> {
    map_rows_with(
        x,
        || (),
        #[inline(always)]
        |(), index, output: &mut [O], x: &[T]| f(index, output, x),
    )
}

/// [`map_rows`] by way of something that each task has for itself: `f(scratch, index, out, x)`.
pub fn map_rows_with<T: Real, O: Real, S>(
    x: &Array,
    scratch: impl Fn() -> S + Sync,
    f: impl Fn(&mut S, usize, &mut [O], &[T]) + Sync,
) -> Result<Array> {
    let width = x.dims().last().copied().unwrap_or(1).max(1);
    let mut output = unwritten::<O>(x.elem_count());
    let rows = grain(width);
    let run = |(piece, (output, x)): (usize, (&mut [O], &[T]))| {
        let mut scratch = scratch();
        vectorized(
            #[inline(always)]
            || {
                let pairs = output.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for (index, (output, x)) in pairs.enumerate() {
                    f(&mut scratch, piece * rows + index, output, x);
                }
            },
        );
    };
    Elements::of(x)?.read(|x: &[T]| {
        let pieces = output.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width));
        pieces.enumerate().for_each(run);
    })?;
    from_vec(output, x.shape())
}

/// [`map_rows`] from two arrays of equal shape: `f(index, out, a, b)`.
pub fn zip_rows<T: Real, U: Real, O: Real>(
    a: &Array,
    b: &Array,
    f: impl Fn(usize, &mut [O], &[T], &[U]) + Sync,
) -> Result<Array> {
    debug_assert_eq!(a.dims(), b.dims());
    let width = a.dims().last().copied().unwrap_or(1).max(1);
    let right = Elements::of(b)?;
    right.read(|b: &[U]| {
        map_rows(
            a,
            #[inline(always)]
            |index, output: &mut [O], a: &[T]| {
                f(index, output, a, &b[index * width..(index + 1) * width]);
            },
        )
    })?
}

/// A few numbers of each row of x: `f(index, x)`.
pub fn reduce_rows<T: Real, R: Send + Copy>(
    x: &Array,
    f: impl Fn(usize, &[T]) -> R + Sync,
) -> Result<Vec<R>> {
    let width = x.dims().last().copied().unwrap_or(1).max(1);
    let rows = x.elem_count() / width;
    Elements::of(x)?.read(|x: &[T]| {
        (0..rows)
            .into_par_iter()
            .with_min_len(grain(width))
            .map(|index| {
                let x = &x[index * width..(index + 1) * width];
                vectorized(
                    #[inline(always)]
                    || f(index, x),
                )
            })
            .collect()
    })
}

/// [`reduce_rows`] of two arrays of equal shape: `f(index, a, b)`.
pub fn reduce_rows2<T: Real, U: Real, R: Send + Copy>(
    a: &Array,
    b: &Array,
    f: impl Fn(usize, &[T], &[U]) -> R + Sync,
) -> Result<Vec<R>> {
    debug_assert_eq!(a.dims(), b.dims());
    let width = b.dims().last().copied().unwrap_or(1).max(1);
    Elements::of(b)?.read(|b: &[U]| {
        reduce_rows(
            a,
            #[inline(always)]
            |index, a: &[T]| f(index, a, &b[index * width..(index + 1) * width]),
        )
    })?
}

/// Four 256-bit or two 512-bit registers of f32: enough to hide the latency of an addition.
const LANES: usize = 32;

/// A row in the type of its sums: as it lies, or widened into `scratch`, which is as long. Loops over it
/// are those of f32, whatever the row's type.
#[inline(always)]
pub fn wide<'a, T: Real>(row: &'a [T], scratch: &'a mut [T::Acc]) -> &'a [T::Acc] {
    if !is_rounded::<T>() {
        return bytemuck::cast_slice(row);
    }
    for (slot, x) in scratch.iter_mut().zip(row) {
        *slot = x.acc();
    }
    scratch
}

/// Sums of `f` over one row; `S` sums at once.
#[inline(always)]
pub fn sums<const S: usize, T: Copy, A: Acc>(row: &[T], f: impl Fn(T) -> [A; S]) -> [A; S] {
    let mut lanes = [[A::ZERO; LANES]; S];
    let mut blocks = row.chunks_exact(LANES);
    for block in &mut blocks {
        let block: &[T; LANES] = block.try_into().expect("a block has LANES elements");
        for lane in 0..LANES {
            let terms = f(block[lane]);
            for sum in 0..S {
                lanes[sum][lane] += terms[sum];
            }
        }
    }
    for (lane, x) in blocks.remainder().iter().enumerate() {
        let terms = f(*x);
        for sum in 0..S {
            lanes[sum][lane] += terms[sum];
        }
    }
    lanes.map(|lanes| fold(lanes, |a, b| a + b))
}

/// [`sums`] over two rows side by side.
#[inline(always)]
pub fn sums2<const S: usize, T: Copy, U: Copy, A: Acc>(
    a: &[T],
    b: &[U],
    f: impl Fn(T, U) -> [A; S],
) -> [A; S] {
    let mut lanes = [[A::ZERO; LANES]; S];
    let (mut left, mut right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut left).zip(&mut right) {
        let a: &[T; LANES] = a.try_into().expect("a block has LANES elements");
        let b: &[U; LANES] = b.try_into().expect("a block has LANES elements");
        for lane in 0..LANES {
            let terms = f(a[lane], b[lane]);
            for sum in 0..S {
                lanes[sum][lane] += terms[sum];
            }
        }
    }
    for (lane, (a, b)) in left.remainder().iter().zip(right.remainder()).enumerate() {
        let terms = f(*a, *b);
        for sum in 0..S {
            lanes[sum][lane] += terms[sum];
        }
    }
    lanes.map(|lanes| fold(lanes, |a, b| a + b))
}

/// [`sums`] over three rows side by side.
#[inline(always)]
pub fn sums3<const S: usize, T: Copy, U: Copy, V: Copy, A: Acc>(
    a: &[T],
    b: &[U],
    c: &[V],
    f: impl Fn(T, U, V) -> [A; S],
) -> [A; S] {
    let mut lanes = [[A::ZERO; LANES]; S];
    let mut first = a.chunks_exact(LANES);
    let mut second = b.chunks_exact(LANES);
    let mut third = c.chunks_exact(LANES);
    for ((a, b), c) in (&mut first).zip(&mut second).zip(&mut third) {
        let a: &[T; LANES] = a.try_into().expect("a block has LANES elements");
        let b: &[U; LANES] = b.try_into().expect("a block has LANES elements");
        let c: &[V; LANES] = c.try_into().expect("a block has LANES elements");
        for lane in 0..LANES {
            let terms = f(a[lane], b[lane], c[lane]);
            for sum in 0..S {
                lanes[sum][lane] += terms[sum];
            }
        }
    }
    let rest = first.remainder().iter().zip(second.remainder()).zip(third.remainder());
    for (lane, ((a, b), c)) in rest.enumerate() {
        let terms = f(*a, *b, *c);
        for sum in 0..S {
            lanes[sum][lane] += terms[sum];
        }
    }
    lanes.map(|lanes| fold(lanes, |a, b| a + b))
}

/// The largest of a row, NaN left out; the lowest value if there is none.
#[inline(always)]
pub fn largest<T: Real>(row: &[T]) -> T::Acc {
    let larger = |a: T::Acc, b: T::Acc| if b > a { b } else { a };
    let mut lanes = [T::Acc::LOWEST; LANES];
    let mut blocks = row.chunks_exact(LANES);
    for block in &mut blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, x.acc());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = larger(*lane, x.acc());
    }
    fold(lanes, larger)
}

/// What `f` makes of all lanes, halved until one is left; their number is a power of two.
#[inline(always)]
pub fn fold<A: Acc, const N: usize>(mut lanes: [A; N], f: impl Fn(A, A) -> A) -> A {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = f(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_covered() {
        for len in 0..130usize {
            let row: Vec<f32> = (0..len).map(|i| (i as f32) - 7.0).collect();
            let sum: f32 = row.iter().sum();
            let dot: f32 = row.iter().map(|x| x * x).sum();
            assert_eq!(sums(&row, |x| [x, x * x]), [sum, dot]);
            assert_eq!(sums2(&row, &row, |a, b| [a * b]), [dot]);
            assert_eq!(sums3(&row, &row, &row, |a, b, c| [a * b, c]), [dot, sum]);
            assert_eq!(largest(&row), row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
