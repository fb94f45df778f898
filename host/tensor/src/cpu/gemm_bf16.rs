//! Matrix products of bf16 operands with sums in f32, by the processor's dot-product instruction
//! (AVX-512-BF16) where it has one.
//!
//! Operands are packed into panels in which the two bf16 of neighbouring depths lie side by side, as
//! the instruction takes them, and f32 operands are rounded on the way; rows of bf16 that lie so
//! already are read from there. Every element of the product is summed by one task in order of depth:
//! the result does not depend on the number of threads.

use half::bf16;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
mod dot;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
use lanes::Lanes;

/// What only the kernel of x86 asks for.
#[cfg(not(target_arch = "x86_64"))]
pub trait Lanes: Copy {}
#[cfg(not(target_arch = "x86_64"))]
impl<T: Copy> Lanes for T {}

use super::{BLOCK, Gathered, Matrix, Start, matmul, matmul_into, unwritten, vectorized};

/// f32, which is rounded to bf16 where it enters a product, or bf16.
pub trait Brief: Lanes + bytemuck::Pod + Send + Sync {
    /// The bits of the nearest bf16.
    fn bits(self) -> u16;
    /// From a sum.
    fn round(sum: f32) -> Self;
    /// Exactly.
    fn widen(self) -> f32;
}

impl Brief for f32 {
    /// To the nearest, ties to even, without a branch.
    #[inline(always)]
    fn bits(self) -> u16 {
        let bits = self.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        if self.is_nan() { 0x7fc0 } else { rounded }
    }
    #[inline(always)]
    fn round(sum: f32) -> Self {
        sum
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Brief for bf16 {
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }
    #[inline(always)]
    fn round(sum: f32) -> Self {
        bf16::from_bits(Brief::bits(sum))
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// `out` (row-major m x n) = `start` + a (m x k) b (k x n), with operands rounded to bf16, sums in
/// f32, and one rounding at the end.
///
/// # Panics
/// A slice is shorter than its matrix.
pub fn matmul_bf16_into<A: Brief, B: Brief, O: Brief>(
    out: &mut [O],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "matrix outside its slice");
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), n, "a bias of another width");
    }
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        let sums = first_sums(out, (m, n), start);
        round_all(&mut out[..m * n], &sums);
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if lanes::is_available() {
        // Few passes over a short product are summed in `out`; others need f32 for what they keep.
        if k <= dot::DEPTH || size_of::<O>() == 4 {
            dot::multiply(&mut out[..m * n], a, b, (m, k, n), start, threads);
        } else {
            let mut sums = first_sums(out, (m, n), start);
            dot::multiply(&mut sums, a, b, (m, k, n), Start::Out, threads);
            round_all(&mut out[..m * n], &sums);
        }
        return;
    }
    by_widening(out, a, b, (m, k, n), start, threads);
}

/// Whether [`gathered_bf16_into`] is there.
pub fn gathers_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return lanes::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// [`matmul_bf16_into`] of rows that are gathered in runs of even length.
///
/// # Panics
/// As of [`matmul_bf16_into`]; the processor lacks the instruction ([`gathers_bf16`]).
pub fn gathered_bf16_into<O: Brief>(
    out: &mut [O],
    a: Gathered<'_, bf16>,
    b: Matrix<'_, bf16>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    assert!(gathers_bf16(), "no dot products of bf16");
    #[cfg(target_arch = "x86_64")]
    if k <= dot::DEPTH || size_of::<O>() == 4 {
        dot::multiply_gathered(&mut out[..m * n], a, b, (m, k, n), start, threads);
    } else {
        let mut sums = first_sums(out, (m, n), start);
        dot::multiply_gathered(&mut sums, a, b, (m, k, n), Start::Out, threads);
        round_all(&mut out[..m * n], &sums);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (out, a, b, m, k, n, start, threads);
}

fn first_sums<O: Brief>(out: &[O], (m, n): (usize, usize), start: Start<'_, f32>) -> Vec<f32> {
    match start {
        Start::Zero => vec![0f32; m * n],
        Start::Bias(bias) => bias.repeat(m),
        Start::Out => out[..m * n].iter().map(|x| x.widen()).collect(),
    }
}

/// Rounds a row to bf16, by the processor's own instruction where it has one (which takes what is below
/// the normal numbers to 0).
#[inline(always)]
pub(super) fn round_row(slots: &mut [bf16], row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if lanes::is_available() {
        // SAFETY: the instruction is there.
        return unsafe { lanes::round_row(slots, row) };
    }
    for (slot, x) in slots.iter_mut().zip(row) {
        *slot = Brief::round(*x);
    }
}

/// [`Real::round_blocks`](super::Real::round_blocks) to bf16, in one call where [`round_row`] is one for
/// each row.
#[inline(always)]
pub(super) fn round_blocks(slots: &mut [bf16], stride: usize, rows: &[[f32; BLOCK]], len: usize) {
    #[cfg(target_arch = "x86_64")]
    if lanes::is_available() {
        // SAFETY: the instruction is there.
        return unsafe { lanes::round_blocks(slots, stride, rows, len) };
    }
    for (slots, row) in slots.chunks_mut(stride).zip(rows) {
        round_row(&mut slots[..len], row);
    }
}

/// Elements that one task converts.
const CHUNK: usize = 16_384;

fn round_all<O: Brief>(out: &mut [O], sums: &[f32]) {
    out.par_chunks_mut(CHUNK).zip(sums.par_chunks(CHUNK)).for_each(|(out, sums)| {
        vectorized(
            #[inline(always)]
            || out.iter_mut().zip(sums).for_each(|(out, sum)| *out = O::round(*sum)),
        );
    });
}

/// The part of a slice that holds the matrix, rounded to bf16, as f32.
fn widened<T: Brief>(matrix: Matrix<'_, T>, rows: usize, columns: usize) -> Vec<f32> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let len = (rows - 1) * matrix.row + (columns - 1) * matrix.column + 1;
    let mut wide = unwritten::<f32>(len);
    wide.par_chunks_mut(CHUNK).zip(matrix.data[..len].par_chunks(CHUNK)).for_each(
        |(wide, from)| {
            vectorized(
                #[inline(always)]
                || {
                    for (wide, x) in wide.iter_mut().zip(from) {
                        *wide = f32::from_bits(u32::from(x.bits()) << 16);
                    }
                },
            );
        },
    );
    wide
}

/// For processors without the instruction: the same product in f32.
fn by_widening<A: Brief, B: Brief, O: Brief>(
    out: &mut [O],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    let wide_a = widened(a, m, k);
    let wide_b = widened(b, k, n);
    let a = Matrix { data: &wide_a, row: a.row, column: a.column };
    let b = Matrix { data: &wide_b, row: b.row, column: b.column };
    let sums = match start {
        Start::Zero => matmul(a, b, (m, k, n), None, threads),
        Start::Bias(bias) => matmul(a, b, (m, k, n), Some(bias), threads),
        Start::Out => {
            let mut sums = first_sums(out, (m, n), start);
            matmul_into(&mut sums, a, b, (m, k, n), Start::Out, threads);
            sums
        }
    };
    round_all(&mut out[..m * n], &sums);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Eighths in [-4, 4): exact in bf16, and sums of their products exact in f32.
                ((state >> 40) % 64) as f32 / 8.0 - 4.0
            })
            .collect()
    }

    #[test]
    fn every_shape_layout_and_type_agrees_with_f32() {
        for (m, k, n) in
            [(1, 1, 1), (13, 7, 33), (12, 64, 32), (100, 129, 70), (5, 300, 1100), (30, 4500, 40)]
        {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let bias = values(n, 3);
            let mut expected = bias.repeat(m);
            matmul_into(
                &mut expected,
                Matrix::rows(&a, k),
                Matrix::rows(&b, n),
                (m, k, n),
                Start::Out,
                1,
            );
            let turn = |x: &[f32], rows: usize, columns: usize| -> Vec<bf16> {
                (0..rows * columns)
                    .map(|i| bf16::from_f32(x[i % rows * columns + i / rows]))
                    .collect()
            };
            let (at, bt) = (turn(&a, m, k), turn(&b, k, n));
            for threads in [1, 2] {
                let mut found = vec![0f32; m * n];
                let (left, right) = (Matrix::rows(&a, k), Matrix::rows(&b, n));
                matmul_bf16_into(&mut found, left, right, (m, k, n), Start::Bias(&bias), threads);
                assert_eq!(found, expected, "f32 {m} {k} {n}");
                let mut brief = vec![bf16::ZERO; m * n];
                let (left, right) = (Matrix::transposed(&at, m), Matrix::transposed(&bt, k));
                matmul_bf16_into(&mut brief, left, right, (m, k, n), Start::Bias(&bias), threads);
                let rounded: Vec<bf16> = expected.iter().map(|x| bf16::from_f32(*x)).collect();
                assert_eq!(brief, rounded, "bf16 {m} {k} {n}");
                by_widening(&mut found, left, right, (m, k, n), Start::Bias(&bias), threads);
                assert_eq!(found, expected, "widened {m} {k} {n}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_nan() {
        for bits in
            [0u32, 0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000]
        {
            let x = f32::from_bits(bits);
            assert_eq!(Brief::bits(x), bf16::from_f32(x).to_bits(), "{x}");
        }
        assert!(bf16::from_bits(Brief::bits(f32::NAN)).is_nan());
    }
}
