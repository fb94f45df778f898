//! Positions of the first elements of a row in ascending or descending order.

use rayon::prelude::*;

use super::{Acc, Elements, Real, from_vec, grain, vectorized};
use crate::{Array, Result};

/// For each row of the last dimension the first `count` elements in order: values and positions
/// (i64). Equal values keep their order; NaN counts as the largest.
///
/// # Panics
/// The rank is 0, or `count` exceeds the last dimension.
pub fn first_in_order<T: Real>(
    x: &Array,
    count: usize,
    descending: bool,
) -> Result<(Array, Array)> {
    let (len, mut shape) = (x.dims()[x.rank() - 1], x.dims().to_vec());
    assert!(count <= len, "{count} of {len} elements");
    shape[x.rank() - 1] = count;
    let total: usize = shape.iter().product();
    let (mut values, mut indices) = (vec![T::zero(); total], vec![0i64; total]);
    if total > 0 {
        Elements::of(x)?.read(|x: &[T]| {
            let rows = values.par_chunks_mut(count).zip(indices.par_chunks_mut(count));
            rows.zip(x.par_chunks(len)).with_min_len(grain(16 * len)).for_each(
                |((values, indices), row)| {
                    let positions = positions(row, count, descending);
                    for ((value, index), position) in values.iter_mut().zip(indices).zip(positions)
                    {
                        *value = row[position];
                        *index = position as i64;
                    }
                },
            );
        })?;
    }
    Ok((from_vec(values, shape.as_slice())?, from_vec(indices, shape)?))
}

fn positions<T: Real>(row: &[T], count: usize, descending: bool) -> Vec<usize> {
    if size_of::<T>() == 8 {
        let pack = |(position, x): (usize, &T)| (key64(x.acc().f64(), descending), position);
        let mut packed: Vec<(u64, usize)> = row.iter().enumerate().map(pack).collect();
        keep_first(&mut packed, count);
        packed.sort_unstable();
        return packed.into_iter().map(|(_, position)| position).collect();
    }
    // Key and position in one word: comparing is one instruction, and equal keys stay in order.
    let key = |x: &T| key32(x.acc().f64() as f32, descending);
    let pack = |(position, x): (usize, &T)| u64::from(key(x)) << 32 | position as u64;
    // A few times `count` before the best are picked out again.
    let room = (4 * count).max(256);
    let (head, rest) = row.split_at(room.min(row.len()));
    let mut packed: Vec<u64> = head.iter().enumerate().map(pack).collect();
    keep_first(&mut packed, count);
    let mut limit = packed.iter().max().map_or(0, |worst| (worst >> 32) as u32);
    for (block, x) in rest.chunks(64).enumerate() {
        // Most blocks hold nothing better than what is there, which costs a few vector instructions.
        let promising = vectorized(
            #[inline(always)]
            || x.iter().fold(false, |any, x| any | (key(x) < limit)),
        );
        if promising {
            let start = head.len() + block * 64;
            let better = x.iter().enumerate().filter(|(_, x)| key(x) < limit);
            packed.extend(better.map(|(offset, x)| pack((start + offset, x))));
            if packed.len() >= room {
                keep_first(&mut packed, count);
                limit = packed.iter().max().map_or(0, |worst| (worst >> 32) as u32);
            }
        }
    }
    keep_first(&mut packed, count);
    packed.sort_unstable();
    packed.into_iter().map(|packed| (packed & u64::from(u32::MAX)) as usize).collect()
}

/// Drops all but the `count` smallest, in any order.
fn keep_first<P: Ord>(packed: &mut Vec<P>, count: usize) {
    if count > 0 && count < packed.len() {
        packed.select_nth_unstable(count - 1);
    }
    packed.truncate(count);
}

/// Integers in the order of the floats: the sign bit is turned, and all bits of negative numbers.
#[inline(always)]
fn key32(x: f32, descending: bool) -> u32 {
    // + 0 makes -0 and 0 equal.
    let bits = (x + 0.0).to_bits();
    let key = bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000);
    let key = if x.is_nan() { u32::MAX } else { key };
    if descending { !key } else { key }
}

fn key64(x: f64, descending: bool) -> u64 {
    let bits = (x + 0.0).to_bits();
    let key = bits ^ (((bits as i64 >> 63) as u64) | 1 << 63);
    let key = if x.is_nan() { u64::MAX } else { key };
    if descending { !key } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    /// Many equal values, both ways, every kind of count, against a stable sort.
    #[test]
    fn the_first_are_those_of_a_stable_sort() {
        let coarse: Vec<f32> = random::scope(1, 0, || random::normal(5000))
            .into_iter()
            .map(|x| (x * 20.0).round() / 20.0)
            .collect();
        for descending in [false, true] {
            let mut expected: Vec<usize> = (0..coarse.len()).collect();
            expected.sort_by(|a, b| {
                let order = coarse[*a].partial_cmp(&coarse[*b]).unwrap();
                if descending { order.reverse() } else { order }
            });
            let wide: Vec<f64> = coarse.iter().map(|x| f64::from(*x)).collect();
            for count in [0, 1, 5, 63, 64, 500, 2000, 4999, 5000] {
                assert_eq!(positions(&coarse, count, descending), expected[..count], "{count}");
                assert_eq!(positions(&wide, count, descending), expected[..count], "{count}");
            }
        }
    }

    #[test]
    fn nan_is_the_largest_and_zeros_are_equal() {
        let row = [0.0f32, f32::NAN, -0.0, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(positions(&row, 5, false), [4, 0, 2, 3, 1]);
        assert_eq!(positions(&row, 5, true), [1, 3, 0, 2, 4]);
        let row = row.map(f64::from);
        assert_eq!(positions(&row, 5, false), [4, 0, 2, 3, 1]);
        assert_eq!(positions(&row, 5, true), [1, 3, 0, 2, 4]);
    }
}
