//! The product by the dot-product instruction of AVX-512-BF16.

use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::Brief;
use super::lanes::{LANES, is_available, lowest};
use crate::cpu::panels::{self, AHEAD, Panels, Shared, Side, divide};
use crate::cpu::transposed::{better_turned, turn_back};
use crate::cpu::turn::{SIDE, turn};
use crate::cpu::{Gathered, Matrix, Start, fetch, fetch_line, fetch_to_write, unwritten};

/// Most rows of a tile, and its columns: 24 of the 32 registers hold sums.
const ROWS: usize = 12;
const COLUMNS: usize = 32;
/// Pairs that a cache line of a row holds.
const LINE: usize = 16;
/// Most depth of one pass: a panel of `b` and a block of `a` share the second cache.
pub(super) const DEPTH: usize = 2048;

pub(super) fn multiply<A: Brief, B: Brief, O: Brief>(
    out: &mut [O],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    if better_turned((m, k, n), b.row == 1 || b.column == 1) {
        let mut turned = unwritten::<f32>(m * n);
        let (left, right) = (Left::Matrix(b.turned()), a.turned());
        multiply_left(&mut turned, left, right, (n, k, m), Start::Zero, threads);
        return turn_back(out, &turned, (m, n), start, threads);
    }
    multiply_left(out, Left::Matrix(a), b, (m, k, n), start, threads);
}

/// [`multiply`] of rows of bf16 that are gathered in runs of even length.
pub(super) fn multiply_gathered<O: Brief>(
    out: &mut [O],
    a: Gathered<'_, bf16>,
    b: Matrix<'_, bf16>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    assert!(a.run.is_multiple_of(2), "pairs of a run");
    multiply_left(out, Left::Gathered(a), b, (m, k, n), start, threads);
}

/// The left matrix of a product.
#[derive(Clone, Copy)]
enum Left<'a, A> {
    Matrix(Matrix<'a, A>),
    Gathered(Gathered<'a, A>),
}

fn multiply_left<A: Brief, B: Brief, O: Brief>(
    out: &mut [O],
    a: Left<'_, A>,
    b: Matrix<'_, B>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    // An even depth or whole runs, so that pairs do not straddle passes.
    let (covers, packs, unit) = match a {
        Left::Matrix(a) => (a.covers(m, k), a.column != 1, 2),
        Left::Gathered(a) => (a.covers(m, k), false, a.run),
    };
    assert!(is_available() && out.len() == m * n && covers && b.covers(k, n));
    let shared = Shared(out.as_mut_ptr());
    let shared = &shared;
    let most = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(unit);
    for first in (0..k).step_by(most) {
        let depth = first..k.min(first + most);
        let pairs = depth.len().div_ceil(2);
        let panel = pairs * COLUMNS;
        let panels = n.div_ceil(COLUMNS);
        let mut packed = Panels::lend(Side::Columns, panels * panel);
        let packed = packed.pairs();
        panels::pack(packed, panel, threads, |index, panel| {
            let first = index * COLUMNS;
            let lanes = first..n.min(first + COLUMNS);
            let lines = Lines { data: b.data, lane: b.column, depth: b.row };
            // SAFETY: the instructions are there, and the lines lie in the matrix, as was asserted.
            unsafe { pack(panel, COLUMNS, lines, lanes, depth.clone()) };
        });
        divide((m, panels), (ROWS, packs), threads, |rows, panels| {
            let start = if first > 0 { Start::Out } else { start };
            let block = Block { out: shared.0, stride: n, packed, rows, panels, pairs, start };
            // SAFETY: as above; no other task has this block.
            unsafe { block.multiply(a, depth.clone()) };
        });
    }
}

/// A matrix as lanes (rows of `a`, columns of `b`) by depth.
#[derive(Clone, Copy)]
struct Lines<'a, T> {
    data: &'a [T],
    lane: usize,
    depth: usize,
}

/// Packs `lanes` as (pair of depths, lane), `width` lanes apart, with zeros behind the last lane
/// and to an even depth.
///
/// # Safety
/// The lines lie in their data.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn pack<T: Brief>(
    panel: &mut [u32],
    width: usize,
    lines: Lines<'_, T>,
    lanes: Range<usize>,
    depth: Range<usize>,
) {
    debug_assert!(lanes.len() <= width && panel.len() >= depth.len().div_ceil(2) * width);
    let start =
        lines.data.as_ptr().wrapping_add(lanes.start * lines.lane + depth.start * lines.depth);
    let (to, pairs) = (panel.as_mut_ptr(), depth.len().div_ceil(2));
    // SAFETY: slots up to `width` lanes of each pair lie in the panel, and what is read in `lines`.
    unsafe {
        if lines.lane == 1 {
            for pair in 0..pairs {
                let low = start.add(2 * pair * lines.depth);
                let soon = low.wrapping_add(AHEAD * lines.depth);
                fetch_line(soon, lanes.len());
                fetch_line(soon.wrapping_add(lines.depth), lanes.len());
                let high = (2 * pair + 1 < depth.len()).then_some(lines.depth);
                for lane in (0..width).step_by(LANES) {
                    let kept = lowest(lanes.len().saturating_sub(lane));
                    let slots = lowest(width - lane);
                    let value = side_by_side(low.wrapping_add(lane), high, kept);
                    _mm512_mask_storeu_epi32(to.add(pair * width + lane).cast(), slots, value);
                }
            }
            return;
        }
        if lines.depth == 1 {
            // Squares of lanes by pairs, turned in registers.
            for pair in (0..pairs).step_by(SIDE) {
                let kept = lowest(depth.len() - 2 * pair);
                for lane in (0..width).step_by(SIDE) {
                    let line = |index: usize| {
                        if lane + index >= lanes.len() {
                            return _mm256_setzero_ps();
                        }
                        let from = start.add((lane + index) * lines.lane + 2 * pair);
                        _mm256_castsi256_ps(T::load_bits(from, kept))
                    };
                    let square = turn(std::array::from_fn(line));
                    let slots = lowest(width - lane) as u8;
                    for (index, line) in square.into_iter().enumerate().take(pairs - pair) {
                        let slot = to.add((pair + index) * width + lane);
                        _mm256_mask_storeu_ps(slot.cast(), slots, line);
                    }
                }
            }
            return;
        }
        for pair in 0..pairs {
            for lane in 0..width {
                let at =
                    |depth: usize| (*start.add(lane * lines.lane + depth * lines.depth)).bits();
                let low = if lane < lanes.len() { at(2 * pair) } else { 0 };
                let high = if lane < lanes.len() && 2 * pair + 1 < depth.len() {
                    at(2 * pair + 1)
                } else {
                    0
                };
                *to.add(pair * width + lane) = u32::from(low) | (u32::from(high) << 16);
            }
        }
    }
}

/// Pairs of the lanes that lie at `low` and those `high` behind them, or zeros.
///
/// # Safety
/// The lanes of the mask are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn side_by_side<T: Brief>(low: *const T, high: Option<usize>, mask: u16) -> __m512i {
    // SAFETY: as the caller says.
    let (below, above) = unsafe {
        let above = high.map(|high| T::load_bits(low.wrapping_add(high), mask));
        (T::load_bits(low, mask), above.unwrap_or(_mm256_setzero_si256()))
    };
    let above = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(above));
    _mm512_or_si512(_mm512_cvtepu16_epi32(below), above)
}

/// Packs lanes that lie side by side as (tile, pair of depths, lane of the tile): pair by pair, for
/// tile by tile would come back to each line of memory.
///
/// # Safety
/// The lines lie in their data.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn pack_tiles<T: Brief>(
    block: &mut [u32],
    lines: Lines<'_, T>,
    lanes: Range<usize>,
    depth: Range<usize>,
) {
    let pairs = depth.len().div_ceil(2);
    let tiles = lanes.len().div_ceil(ROWS);
    debug_assert!(block.len() >= tiles * pairs * ROWS);
    let start = lines.data.as_ptr().wrapping_add(lanes.start + depth.start * lines.depth);
    // SAFETY: as in `pack`.
    unsafe {
        for pair in 0..pairs {
            let low = start.add(2 * pair * lines.depth);
            let soon = low.wrapping_add(AHEAD * lines.depth);
            fetch_line(soon, lanes.len());
            fetch_line(soon.wrapping_add(lines.depth), lanes.len());
            let high = (2 * pair + 1 < depth.len()).then_some(lines.depth);
            for tile in 0..tiles {
                let kept = lowest((lanes.len() - tile * ROWS).min(ROWS));
                let value = side_by_side(low.add(tile * ROWS), high, kept);
                let to = block.as_mut_ptr().add((tile * pairs + pair) * ROWS);
                _mm512_mask_storeu_epi32(to.cast(), lowest(ROWS), value);
            }
        }
    }
}

/// The part of a pass that one task computes: some rows by some panels.
struct Block<'a, O> {
    out: *mut O,
    stride: usize,
    packed: &'a [u32],
    rows: Range<usize>,
    panels: Range<usize>,
    pairs: usize,
    start: Start<'a, f32>,
}

/// Where the pairs of a tile's rows lie: `step` bf16 apart, in runs of so many pairs that begin `apart`
/// bf16 apart.
#[derive(Clone, Copy)]
struct Rows {
    starts: [*const u16; ROWS],
    step: usize,
    run: usize,
    apart: usize,
    /// How far behind the next tile's rows lie, which are asked for meanwhile; 0 for none.
    next: usize,
}

impl<O: Brief> Block<'_, O> {
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn multiply<A: Brief>(&self, a: Left<'_, A>, depth: Range<usize>) {
        let (first, pairs) = (self.rows.start, self.pairs);
        let evenly = |first: *const u16, row: usize, step: usize, next: usize| {
            move |at: usize, height: usize| Rows {
                starts: std::array::from_fn(|index| {
                    first.wrapping_add((at + index.min(height - 1)) * row)
                }),
                step,
                run: pairs,
                apart: 0,
                next,
            }
        };
        let a = match a {
            Left::Matrix(a) => a,
            Left::Gathered(Gathered { data, starts, run, apart }) => {
                let data = data.as_ptr().cast::<u16>().wrapping_add(depth.start / run * apart);
                let rows = |at: usize, height: usize| {
                    let start = |index: usize| starts[first + at + index.min(height - 1)];
                    let starts = std::array::from_fn(|index| data.wrapping_add(start(index)));
                    Rows { starts, step: 2, run: run / 2, apart, next: 0 }
                };
                // SAFETY: as the caller says.
                unsafe { self.tiles(rows) };
                return;
            }
        };
        let even = depth.len().is_multiple_of(2);
        if a.column == 1 && A::IS_BF16 && even {
            // From where they lie.
            let data = a.data.as_ptr().cast::<u16>();
            // SAFETY: as the caller says.
            unsafe {
                let first = data.add(first * a.row + depth.start);
                self.tiles(evenly(first, a.row, 2, ROWS * a.row));
            }
            return;
        }
        let tiles = self.rows.len().div_ceil(ROWS);
        let mut block = Panels::lend(Side::Rows, tiles * ROWS * pairs);
        let block = block.pairs();
        // SAFETY: as the caller says.
        unsafe {
            if a.column == 1 {
                for row in 0..self.rows.len() {
                    let from = a.data.as_ptr().add((first + row) * a.row + depth.start);
                    let to = block.as_mut_ptr().add(row * pairs).cast::<u16>();
                    round_line(to, from, depth.len());
                }
                let first = block.as_ptr().cast::<u16>();
                self.tiles(evenly(first, 2 * pairs, 2, 0));
                return;
            }
            let lines = Lines { data: a.data, lane: a.row, depth: a.column };
            if a.row == 1 {
                pack_tiles(block, lines, self.rows.clone(), depth.clone());
            } else {
                for (index, tile) in block.chunks_exact_mut(ROWS * pairs).enumerate() {
                    let row = first + index * ROWS;
                    pack::<A>(tile, ROWS, lines, row..self.rows.end.min(row + ROWS), depth.clone());
                }
            }
            let first = block.as_ptr().cast::<u16>();
            // Within a tile rows lie side by side.
            let tile = 2 * ROWS * pairs;
            self.tiles(|at, height| {
                evenly(first.wrapping_add(at / ROWS * tile), 2, 2 * ROWS, 0)(0, height)
            });
        }
    }

    /// Computes every tile; `rows` says where the rows from one of the block on lie.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn tiles(&self, rows: impl Fn(usize, usize) -> Rows) {
        let panel = self.pairs * COLUMNS;
        for index in self.panels.clone() {
            let right = &self.packed[index * panel..(index + 1) * panel];
            let column = index * COLUMNS;
            let width = COLUMNS.min(self.stride - column);
            let start = match self.start {
                Start::Bias(bias) => Start::Bias(&bias[column..column + width]),
                start => start,
            };
            for row in (0..self.rows.len()).step_by(ROWS) {
                let height = ROWS.min(self.rows.len() - row);
                let mut left = rows(row, height);
                if index > self.panels.start {
                    left.next = 0;
                }
                macro_rules! heights {
                    ($($height:literal)*) => {
                        $( if height <= $height {
                            // SAFETY: the tile lies inside `out` and belongs to this task alone;
                            // its rows lie in `a` or its packed copy.
                            unsafe {
                                let out = self.out.add((self.rows.start + row) * self.stride + column);
                                if width > LANES {
                                    tile::<O, $height, 2>(out, self.stride, (height, width), left, right, start);
                                } else {
                                    tile::<O, $height, 1>(out, self.stride, (height, width), left, right, start);
                                }
                            }
                        } else )* {
                            unreachable!("a tile has at most {ROWS} rows");
                        }
                    };
                }
                heights!(4 8 12);
            }
        }
    }
}

/// Rounds a line to bf16, with a zero behind it if it has an odd length.
///
/// # Safety
/// `from` has `len` elements, `to` room for as many, rounded up to even.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn round_line<T: Brief>(to: *mut u16, from: *const T, len: usize) {
    // SAFETY: as the caller says; masks end where the lines end.
    unsafe {
        for at in (0..len).step_by(LANES) {
            let bits = T::load_bits(from.add(at), lowest(len - at));
            let slots = lowest(len.next_multiple_of(2) - at);
            _mm256_mask_storeu_epi16(to.add(at).cast(), slots, bits);
        }
    }
}

/// One tile: sums in registers over the depth of a pass, then bias or what was there before, and
/// rounding.
///
/// # Safety
/// `out` is the corner of a tile of `height` rows, `stride` apart, of `width` elements, and `left`
/// has as many rows, of as many pairs as `right`.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn tile<O: Brief, const H: usize, const W: usize>(
    out: *mut O,
    stride: usize,
    (height, width): (usize, usize),
    left: Rows,
    right: &[u32],
    start: Start<'_, f32>,
) {
    for row in 0..height {
        let line = out.wrapping_add(row * stride);
        for index in 0..W {
            fetch_to_write(line.wrapping_add(index * LANES));
        }
    }
    let mut sums = [[_mm512_setzero_ps(); W]; H];
    let mut firsts = [left.starts[0]; H];
    firsts.copy_from_slice(&left.starts[..H]);
    // Plain loops from here on: a closure that is not inlined would empty the registers.
    for (run, right) in right.chunks(left.run * COLUMNS).enumerate() {
        let mut starts = firsts;
        for start in &mut starts {
            *start = start.wrapping_add(run * left.apart);
        }
        for (line, right) in right.chunks(LINE * COLUMNS).enumerate() {
            if left.next > 0 {
                for start in &starts {
                    fetch(start.wrapping_add(left.next + 2 * line * LINE));
                }
            }
            for (pair, right) in right.chunks_exact(COLUMNS).enumerate() {
                let pair = line * LINE + pair;
                let mut columns = [_mm512_setzero_si512(); W];
                for (index, column) in columns.iter_mut().enumerate() {
                    let lanes = right.as_ptr().wrapping_add(index * LANES);
                    // SAFETY: a chunk of `right` holds two registers.
                    *column = unsafe { _mm512_loadu_si512(lanes.cast()) };
                }
                for (sums, start) in sums.iter_mut().zip(&starts) {
                    // SAFETY: the caller says that this pair is there; both are 512 bits of pairs.
                    let row: __m512bh = unsafe {
                        let pair = start.add(pair * left.step).cast::<i32>().read_unaligned();
                        std::mem::transmute(_mm512_set1_epi32(pair))
                    };
                    for (sum, column) in sums.iter_mut().zip(&columns) {
                        // SAFETY: the types differ in name only.
                        let column: __m512bh = unsafe { std::mem::transmute(*column) };
                        *sum = _mm512_dpbf16_ps(*sum, row, column);
                    }
                }
            }
        }
    }
    let mut bias = [_mm512_setzero_ps(); W];
    if let Start::Bias(values) = start {
        for (index, bias) in bias.iter_mut().enumerate() {
            let mask = lowest(width - index * LANES);
            // SAFETY: the mask ends with the bias.
            *bias = unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr().add(index * LANES)) };
        }
    }
    let add = matches!(start, Start::Out);
    // SAFETY: the caller gives the tile.
    unsafe {
        if height == H {
            for (row, sums) in sums.iter().enumerate() {
                put(out.add(row * stride), width, sums, &bias, add);
            }
            return;
        }
        // By way of memory: sums that are picked by a number that is not known before would not stay
        // in registers above.
        let mut kept = [[_mm512_setzero_ps(); W]; H];
        for (kept, sums) in kept.iter_mut().zip(&sums) {
            for (kept, sum) in kept.iter_mut().zip(sums) {
                *kept = *sum;
            }
        }
        for (row, sums) in kept.iter().enumerate().take(height) {
            put(out.add(row * stride), width, sums, &bias, add);
        }
    }
}

/// Writes a row of a tile: sums and bias, or sums and what was there.
///
/// # Safety
/// `out` has `width` elements, at most as many as there are sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
unsafe fn put<O: Brief, const W: usize>(
    out: *mut O,
    width: usize,
    sums: &[__m512; W],
    bias: &[__m512; W],
    add: bool,
) {
    for (index, (sum, bias)) in sums.iter().zip(bias).enumerate() {
        let mask = lowest(width - index * LANES);
        // SAFETY: the mask ends with the row.
        unsafe {
            let slot = out.add(index * LANES);
            let first = if add { O::load_wide(slot, mask) } else { *bias };
            O::store(slot, mask, _mm512_add_ps(*sum, first));
        }
    }
}
