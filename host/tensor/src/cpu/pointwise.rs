//! Elementwise kernels.

use rayon::prelude::*;

use super::{Elements, Real, from_vec, vectorized};
use crate::{Array, Result};

/// Elements per task.
const CHUNK: usize = 16_384;

/// f(x) for each element, in the type of the accumulator, rounded once.
pub fn map<T: Real>(x: &Array, f: impl Fn(T::Acc) -> T::Acc + Sync) -> Result<Array> {
    let mut output = vec![T::zero(); x.elem_count()];
    Elements::of(x)?.read(|x: &[T]| {
        let run = |(output, x): (&mut [T], &[T])| {
            vectorized(
                #[inline(always)]
                || {
                    for (output, x) in output.iter_mut().zip(x) {
                        *output = T::round(f(x.acc()));
                    }
                },
            );
        };
        output.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(run);
    })?;
    from_vec(output, x.shape())
}

/// f(a, b) for each pair of elements of equal shapes.
pub fn zip_map<T: Real>(
    a: &Array,
    b: &Array,
    f: impl Fn(T::Acc, T::Acc) -> T::Acc + Sync,
) -> Result<Array> {
    debug_assert_eq!(a.dims(), b.dims());
    let mut output = vec![T::zero(); a.elem_count()];
    let (left, right) = (Elements::of(a)?, Elements::of(b)?);
    left.read(|left: &[T]| {
        right.read(|right: &[T]| {
            let run = |((output, a), b): ((&mut [T], &[T]), &[T])| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((output, a), b) in output.iter_mut().zip(a).zip(b) {
                            *output = T::round(f(a.acc(), b.acc()));
                        }
                    },
                );
            };
            output
                .par_chunks_mut(CHUNK)
                .zip(left.par_chunks(CHUNK))
                .zip(right.par_chunks(CHUNK))
                .for_each(run);
        })
    })??;
    from_vec(output, a.shape())
}
