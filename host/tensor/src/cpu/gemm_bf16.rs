//! Matrix products of bf16 operands with sums in f32, by the processor's dot-product instruction
//! (AVX-512-BF16) where it has one.
//!
//! Operands are packed into panels in which the two bf16 of neighbouring depths lie side by side, as
//! the instruction takes them; f32 operands are rounded on the way, so no bf16 copy of them is ever
//! made. Every element of the product is summed by one task in order of depth: the result does not
//! depend on the number of threads.

use std::cell::Cell;

use half::bf16;
use rayon::prelude::*;

use super::{Matrix, Start, matmul, matmul_into, unwritten, vectorized};

/// f32, which is rounded to bf16 where it enters a product, or bf16.
pub trait Brief: bytemuck::Pod + Copy + Send + Sync {
    /// 0.
    const ZERO: Self;
    /// The bits of the nearest bf16.
    fn bits(self) -> u16;
    /// From a sum.
    fn round(sum: f32) -> Self;
    /// Exactly.
    fn widen(self) -> f32;
}

impl Brief for f32 {
    const ZERO: Self = 0.0;
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
    const ZERO: Self = bf16::ZERO;
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
    if dot::is_available() {
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

fn first_sums<O: Brief>(out: &[O], (m, n): (usize, usize), start: Start<'_, f32>) -> Vec<f32> {
    match start {
        Start::Zero => vec![0f32; m * n],
        Start::Bias(bias) => bias.repeat(m),
        Start::Out => out[..m * n].iter().map(|x| x.widen()).collect(),
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

thread_local! {
    /// Memory for packed panels, kept between products: fresh pages cost more than packing.
    static PANELS: Cell<[Vec<u32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Lends one of this thread's two buffers; a product that a waiting thread runs in between finds none
/// and makes its own.
fn with_panels<R>(which: usize, len: usize, body: impl FnOnce(&mut [u32]) -> R) -> R {
    let mut buffers = PANELS.take();
    let mut buffer = std::mem::take(&mut buffers[which]);
    PANELS.set(buffers);
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let result = body(&mut buffer[..len]);
    let mut buffers = PANELS.take();
    buffers[which] = buffer;
    PANELS.set(buffers);
    result
}

#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::x86_64::*;

    use super::*;

    /// Rows and columns of the tile of sums that stays in registers: 24 of the 32.
    const ROWS: usize = 12;
    const COLUMNS: usize = 32;
    /// Depth of one pass: a panel of `b` (32 columns) and a block of `a` share the second cache.
    pub(super) const DEPTH: usize = 4096;
    /// Pairs of depths in a packed block of `a`.
    const BLOCK: usize = 96 * 1024;
    /// Pairs of depths in all the columns that are packed at a time: 8 MiB.
    const SPAN: usize = 2 << 20;
    /// Columns of one task.
    const GROUP: usize = 512;

    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }

    /// A pointer that tasks share to write disjoint rectangles.
    struct Shared<O>(*mut O);
    // SAFETY: the tasks of `multiply` write rectangles that do not overlap.
    unsafe impl<O: Send> Sync for Shared<O> {}

    pub(super) fn multiply<A: Brief, B: Brief, O: Brief>(
        out: &mut [O],
        a: Matrix<'_, A>,
        b: Matrix<'_, B>,
        (m, k, n): (usize, usize, usize),
        start: Start<'_, f32>,
        threads: usize,
    ) {
        assert!(is_available() && out.len() == m * n);
        let shared = Shared(out.as_mut_ptr());
        let shared = &shared;
        for depth in (0..k).step_by(DEPTH) {
            let deep = DEPTH.min(k - depth);
            let pairs = deep.div_ceil(2);
            let rows = (BLOCK / pairs / ROWS * ROWS).clamp(2 * ROWS, 16 * ROWS);
            let span = (SPAN / pairs / GROUP * GROUP).clamp(GROUP, 16 * GROUP);
            for column in (0..n).step_by(span) {
                let wide = span.min(n - column);
                let panel = pairs * COLUMNS;
                with_panels(0, wide.div_ceil(COLUMNS) * panel, |packed| {
                    let pack_b = |(index, panel): (usize, &mut [u32])| {
                        let first = column + index * COLUMNS;
                        let lanes = COLUMNS.min(column + wide - first);
                        let lines = Lines { data: b.data, lane: b.column, depth: b.row };
                        // SAFETY: the instructions are there, as asserted above.
                        unsafe { pack::<COLUMNS, B>(panel, lines, first, lanes, depth, deep) };
                    };
                    let groups = wide.div_ceil(GROUP);
                    let tasks = m.div_ceil(rows) * groups;
                    if threads > 1 {
                        packed.par_chunks_mut(panel).enumerate().for_each(pack_b);
                    } else {
                        packed.chunks_mut(panel).enumerate().for_each(pack_b);
                    }
                    let panels: &[u32] = packed;
                    let task = |index: usize| {
                        let (first_row, group) = (index / groups * rows, index % groups);
                        let high = rows.min(m - first_row);
                        let columns = group * GROUP..wide.min((group + 1) * GROUP);
                        with_panels(1, high.div_ceil(ROWS) * pairs * ROWS, |block| {
                            let lines = Lines { data: a.data, lane: a.row, depth: a.column };
                            for (index, tile) in block.chunks_mut((pairs * ROWS).max(1)).enumerate()
                            {
                                let first = first_row + index * ROWS;
                                let lanes = ROWS.min(first_row + high - first);
                                // SAFETY: the instructions are there, as asserted above.
                                unsafe { pack::<ROWS, A>(tile, lines, first, lanes, depth, deep) };
                            }
                            for tile_column in columns.step_by(COLUMNS) {
                                let right = &panels[tile_column / COLUMNS * panel..][..panel];
                                let at = column + tile_column;
                                let width = COLUMNS.min(column + wide - at);
                                let start = match start {
                                    _ if depth > 0 => Start::Out,
                                    Start::Bias(bias) => Start::Bias(&bias[at..at + width]),
                                    start => start,
                                };
                                for tile_row in (0..high).step_by(ROWS) {
                                    let left = &block[tile_row * pairs..][..pairs * ROWS];
                                    let height = ROWS.min(high - tile_row);
                                    let place = (first_row + tile_row) * n + at;
                                    // SAFETY: the instructions are there; the tile of `height` rows
                                    // and `width` columns at (row, at) lies inside `out`, and no
                                    // other task has it.
                                    unsafe {
                                        let corner = shared.0.add(place);
                                        tile(corner, n, (height, width), left, right, start);
                                    }
                                }
                            }
                        });
                    };
                    if threads > 1 && tasks > 1 {
                        (0..tasks).into_par_iter().for_each(task);
                    } else {
                        (0..tasks).for_each(task);
                    }
                });
            }
        }
    }

    /// A matrix as lanes (rows of `a`, columns of `b`) by depth.
    #[derive(Clone, Copy)]
    struct Lines<'a, T> {
        data: &'a [T],
        lane: usize,
        depth: usize,
    }

    #[inline(always)]
    fn pair(low: u16, high: u16) -> u32 {
        u32::from(low) | (u32::from(high) << 16)
    }

    /// Packs lanes `first..first + lanes` as (pair of depths, lane), with zeros up to W lanes and to
    /// an even depth.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn pack<const W: usize, T: Brief>(
        panel: &mut [u32],
        lines: Lines<'_, T>,
        first: usize,
        lanes: usize,
        depth: usize,
        deep: usize,
    ) {
        let start = first * lines.lane + depth * lines.depth;
        if lanes < W || deep % 2 == 1 {
            panel.fill(0);
        }
        if lines.lane == 1 {
            for (index, slots) in panel.chunks_exact_mut(W).enumerate() {
                let low = &lines.data[start + 2 * index * lines.depth..][..lanes];
                if 2 * index + 1 < deep {
                    let high = &lines.data[start + (2 * index + 1) * lines.depth..][..lanes];
                    for ((slot, low), high) in slots.iter_mut().zip(low).zip(high) {
                        *slot = pair(low.bits(), high.bits());
                    }
                } else {
                    for (slot, low) in slots.iter_mut().zip(low) {
                        *slot = pair(low.bits(), 0);
                    }
                }
            }
            return;
        }
        // In runs of 64 pairs, so that the lines of the panel that they fill stay in the first cache.
        const RUN: usize = 64;
        let pairs = deep.div_ceil(2);
        let mut line = [0u16; 2 * RUN];
        for run in (0..pairs).step_by(RUN) {
            let count = (2 * RUN).min(deep - 2 * run);
            line[count..].fill(0);
            for lane in 0..lanes {
                let from = start + lane * lines.lane + 2 * run * lines.depth;
                if lines.depth == 1 {
                    let from = &lines.data[from..from + count];
                    line.iter_mut().zip(from).for_each(|(slot, x)| *slot = x.bits());
                } else {
                    for (index, slot) in line[..count].iter_mut().enumerate() {
                        *slot = lines.data[from + index * lines.depth].bits();
                    }
                }
                let slots = panel[run * W + lane..].iter_mut().step_by(W);
                for (slot, values) in slots.zip(line[..count.next_multiple_of(2)].chunks_exact(2)) {
                    *slot = pair(values[0], values[1]);
                }
            }
        }
    }

    /// One tile: sums in registers over the whole depth, then bias or what was there before, and
    /// rounding.
    ///
    /// # Safety
    /// `out` is the corner of a tile of `height` rows, `stride` apart, of `width` elements.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn tile<O: Brief>(
        out: *mut O,
        stride: usize,
        (height, width): (usize, usize),
        left: &[u32],
        right: &[u32],
        start: Start<'_, f32>,
    ) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (left, right) in left.chunks_exact(ROWS).zip(right.chunks_exact(COLUMNS)) {
            // SAFETY: a chunk of `right` holds two registers; the types differ in name only.
            let columns: [__m512bh; 2] = unsafe {
                let at = right.as_ptr();
                std::mem::transmute([
                    _mm512_loadu_si512(at.cast()),
                    _mm512_loadu_si512(at.add(COLUMNS / 2).cast()),
                ])
            };
            for (sums, left) in sums.iter_mut().zip(left) {
                // SAFETY: both are 512 bits of bf16 pairs.
                let row: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(*left as i32)) };
                sums[0] = _mm512_dpbf16_ps(sums[0], row, columns[0]);
                sums[1] = _mm512_dpbf16_ps(sums[1], row, columns[1]);
            }
        }
        let mut line = [0f32; COLUMNS];
        for (row, sums) in sums.iter().enumerate().take(height) {
            // SAFETY: `line` holds two registers.
            unsafe {
                _mm512_storeu_ps(line.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(line.as_mut_ptr().add(COLUMNS / 2), sums[1]);
            }
            // SAFETY: the caller gives the tile.
            let slots = unsafe { std::slice::from_raw_parts_mut(out.add(row * stride), width) };
            match start {
                Start::Zero => {}
                Start::Bias(bias) => {
                    line.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += *bias)
                }
                Start::Out => {
                    line.iter_mut().zip(slots.iter()).for_each(|(sum, x)| *sum += x.widen());
                }
            }
            slots.iter_mut().zip(&line).for_each(|(slot, sum)| *slot = O::round(*sum));
        }
    }
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
