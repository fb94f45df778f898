//! Products of few rows, made as their transpose: b^T a^T in place of a b.
//!
//! Packing `b` pays by the rows of `a` that meet it. Where those are few, the product takes less time if
//! `a` is packed and `b` is read where it lies, as the left matrix; the result is turned back.

use rayon::prelude::*;

use super::{Brief, Start, grain, vectorized};

/// Whether a product is better made as its transpose. `in_lines` says that rows or columns of `b` are
/// contiguous: as a left matrix it is then read where it lies, or packed block by block in a cache.
pub(super) fn better_turned((m, k, n): (usize, usize, usize), in_lines: bool) -> bool {
    /// What packing `b` and turning an element back cost, in rows by which the product would be taller.
    const COST: usize = 12;
    let turning = COST * m * (k + n) / (k * n).max(1);
    // Turned, rows become columns, which fill registers; tiles have rows by fours.
    in_lines && m.next_multiple_of(SIDE) + turning < m.next_multiple_of(4) + COST
}

/// Rows and columns that are turned at once: a cache line on both sides.
const SIDE: usize = 16;

/// `out` (m x n) = `start` + what `turned` (n x m) is the transpose of.
pub(super) fn turn_back<T: Brief>(
    out: &mut [T],
    turned: &[f32],
    (m, n): (usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    let height = grain(n).next_multiple_of(SIDE);
    let some = |(index, rows): (usize, &mut [T])| {
        vectorized(
            #[inline(always)]
            || {
                for (part, rows) in rows.chunks_mut(SIDE * n).enumerate() {
                    turn_rows(rows, &turned[index * height + part * SIDE..], (m, n), start);
                }
            },
        );
    };
    let out = &mut out[..m * n];
    if threads > 1 && m > height {
        out.par_chunks_mut(height * n).enumerate().for_each(some);
    } else {
        out.chunks_mut(height * n).enumerate().for_each(some);
    }
}

/// At most as many rows of the result as a square has; `turned` begins with the first of them.
#[inline(always)]
fn turn_rows<T: Brief>(
    rows: &mut [T],
    turned: &[f32],
    (m, n): (usize, usize),
    start: Start<'_, f32>,
) {
    let height = rows.len() / n;
    let mut square = [[0f32; SIDE]; SIDE];
    let mut bias = [0f32; SIDE];
    for first in (0..n).step_by(SIDE) {
        let columns = SIDE.min(n - first);
        if let Start::Bias(values) = start {
            bias[..columns].copy_from_slice(&values[first..first + columns]);
        }
        fill_square(&mut square, &turned[first * m..], m, (height, columns));
        for (row, line) in rows.chunks_exact_mut(n).zip(&square) {
            let slots = &mut row[first..first + columns];
            if let Start::Out = start {
                for (slot, value) in slots.iter_mut().zip(line) {
                    *slot = T::round(slot.widen() + value);
                }
            } else {
                for ((slot, value), bias) in slots.iter_mut().zip(line).zip(&bias) {
                    *slot = T::round(bias + value);
                }
            }
        }
    }
}

/// The first numbers of lines `step` apart as columns.
#[inline(always)]
fn fill_square(
    square: &mut [[f32; SIDE]; SIDE],
    lines: &[f32],
    step: usize,
    (height, columns): (usize, usize),
) {
    #[cfg(target_arch = "x86_64")]
    if height == SIDE && columns == SIDE && is_x86_feature_detected!("avx") {
        use super::turn::{SIDE as PART, copy_turned};
        assert!(lines.len() >= (SIDE - 1) * step + SIDE);
        for row in (0..SIDE).step_by(PART) {
            for column in (0..SIDE).step_by(PART) {
                // SAFETY: AVX is there; the square is whole, and so are the lines, as asserted.
                unsafe {
                    let to = square.as_mut_ptr().cast::<f32>().add(row * SIDE + column);
                    copy_turned(to, SIDE, lines.as_ptr().add(column * step + row), step);
                }
            }
        }
        return;
    }
    for (column, line) in lines.chunks(step).take(columns).enumerate() {
        for (row, value) in square.iter_mut().zip(&line[..height]) {
            row[column] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn every_size_comes_back_on_top_of_what_it_starts_from() {
        for (m, n) in [(1, 1), (16, 16), (3, 40), (33, 50), (48, 1100)] {
            let at = |row: usize, column: usize| (row * 7 + column * 3) as f32 % 64.0;
            let turned: Vec<f32> = (0..m * n).map(|i| at(i % m, i / m)).collect();
            let bias: Vec<f32> = (0..n).map(|column| (column % 64) as f32).collect();
            for threads in [1, 2] {
                for (start, before) in [
                    (Start::Zero, &vec![0.0; n]),
                    (Start::Bias(&bias), &bias),
                    (Start::Out, &vec![2.0; n]),
                ] {
                    let expected: Vec<f32> =
                        (0..m * n).map(|i| before[i % n] + at(i / n, i % n)).collect();
                    let mut wide = vec![2f32; m * n];
                    turn_back(&mut wide, &turned, (m, n), start, threads);
                    assert_eq!(wide, expected, "{m} x {n}, {start:?}");
                    let mut brief = vec![bf16::from_f32(2.0); m * n];
                    turn_back(&mut brief, &turned, (m, n), start, threads);
                    let brief: Vec<f32> = brief.iter().map(|x| x.to_f32()).collect();
                    assert_eq!(brief, expected, "{m} x {n} in bf16, {start:?}");
                }
            }
        }
    }
}
