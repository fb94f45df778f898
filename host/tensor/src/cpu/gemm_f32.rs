//! Matrix products in f32 by fused multiply-adds over the widest registers.
//!
//! Columns of `b` are packed into panels two registers wide. A tile of sums, as many rows as fit the
//! register file, stays in registers for the depth of a pass; the elements of `a` are broadcast from
//! where they lie if its rows are contiguous, else from a packed copy. Every element of the product is
//! summed by one task in order of depth: the result does not depend on the number of threads.

use std::cell::Cell;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Matrix;

/// Most rows of a tile: 24 sums, two columns and a broadcast of 32 registers.
const ROWS: usize = 12;
/// Registers in a row of a tile.
const WIDE: usize = 2;
/// Depth of one pass: a panel and a block of rows share the second-level cache.
const DEPTH: usize = 768;
/// Rows of one task.
const BLOCK: usize = 8 * ROWS;
/// Panels of one task where rows alone do not feed the threads.
const GROUP: usize = 4;

thread_local! {
    /// Memory for packed panels, kept between products: fresh pages cost more than packing.
    static PANELS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// One of this thread's two buffers, lent until it is dropped; a product that a waiting thread runs in
/// between finds none and makes its own.
///
/// A guard and not a function that takes a closure: what a closure computes is compiled without the
/// registers that [`pulp`] chose, unless it is inlined all the way.
struct Panel {
    which: usize,
    len: usize,
    buffer: Vec<f32>,
}

impl Panel {
    fn lend(which: usize, len: usize) -> Self {
        let mut buffers = PANELS.take();
        let mut buffer = std::mem::take(&mut buffers[which]);
        PANELS.set(buffers);
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        Self { which, len, buffer }
    }

    fn slots(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        let mut buffers = PANELS.take();
        buffers[self.which] = std::mem::take(&mut self.buffer);
        PANELS.set(buffers);
    }
}

/// Lanes of a register of the instructions that [`pulp`] chooses.
fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
}

/// Whether tiles pay: the processor has registers of 8 or 16 lanes, and no dimension is so short
/// that most of a tile would be thrown away.
pub(super) fn pays((m, k, n): (usize, usize, usize)) -> bool {
    m >= 4 && n >= 8 && k >= 4 && lanes() >= 8
}

/// A pointer that tasks share to write disjoint rectangles.
struct Shared(*mut f32);
// SAFETY: the tasks of `multiply` write rectangles that do not overlap.
unsafe impl Sync for Shared {}

/// `out` (row-major m x n) = `keep` * out + a (m x k) b (k x n).
///
/// # Panics
/// A slice is shorter than its matrix.
pub(super) fn multiply(
    out: &mut [f32],
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    (m, k, n): (usize, usize, usize),
    keep: bool,
    threads: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "matrix outside its slice");
    let width = WIDE * lanes();
    let passes = k.div_ceil(DEPTH);
    let shared = Shared(out.as_mut_ptr());
    for pass in 0..passes {
        let depth = pass * k / passes..(pass + 1) * k / passes;
        let panel = depth.len() * width;
        let panels = n.div_ceil(width);
        let mut packed = Panel::lend(0, panels * panel);
        let packed = packed.slots();
        let pack = |(index, panel): (usize, &mut [f32])| {
            let first = index * width;
            pack_columns(panel, b, depth.clone(), first..n.min(first + width), width);
        };
        if threads > 1 {
            packed.par_chunks_mut(panel).enumerate().for_each(pack);
        } else {
            packed.chunks_mut(panel).enumerate().for_each(pack);
        }
        let group = if m.div_ceil(BLOCK) < 4 * threads { GROUP } else { panels };
        let groups = panels.div_ceil(group);
        let task = |index: usize| {
            let (row, first) = (index / groups * BLOCK, index % groups * group);
            pulp::Arch::new().dispatch(Block {
                out: &shared,
                stride: n,
                a,
                packed,
                rows: row..m.min(row + BLOCK),
                panels: first..panels.min(first + group),
                depth: depth.clone(),
                add: keep || pass > 0,
            });
        };
        let tasks = m.div_ceil(BLOCK) * groups;
        if threads > 1 && tasks > 1 {
            (0..tasks).into_par_iter().for_each(task);
        } else {
            (0..tasks).for_each(task);
        }
    }
}

/// Columns as (depth, lane), with zeros behind the last.
fn pack_columns(
    panel: &mut [f32],
    b: Matrix<'_, f32>,
    depth: Range<usize>,
    columns: Range<usize>,
    width: usize,
) {
    if columns.len() < width {
        panel.fill(0.0);
    }
    if b.column == 1 {
        for (slots, p) in panel.chunks_exact_mut(width).zip(depth) {
            slots[..columns.len()]
                .copy_from_slice(&b.data[p * b.row + columns.start..][..columns.len()]);
        }
        return;
    }
    // In runs whose lines of the panel stay in the first-level cache.
    const RUN: usize = 64;
    for (run, slots) in panel.chunks_mut(RUN * width).enumerate() {
        let first = depth.start + run * RUN;
        for (lane, column) in columns.clone().enumerate() {
            let start = column * b.column + first * b.row;
            for (index, slot) in slots[lane..].iter_mut().step_by(width).enumerate() {
                *slot = b.data[start + index * b.row];
            }
        }
    }
}

/// The part of a pass that one task computes: some rows by some panels.
struct Block<'a> {
    out: &'a Shared,
    /// Distance between rows of `out`, which is its number of columns.
    stride: usize,
    a: Matrix<'a, f32>,
    packed: &'a [f32],
    rows: Range<usize>,
    panels: Range<usize>,
    depth: Range<usize>,
    add: bool,
}

/// The rows of a tile: where each starts, and how far apart its elements lie.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    starts: [usize; ROWS],
    step: usize,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let most = if S::F32_LANES >= 16 { ROWS } else { ROWS / 2 };
        let (first, deep) = (self.rows.start, self.depth.len());
        if self.a.column == 1 {
            self.tiles(
                simd,
                most,
                #[inline(always)]
                |row, height| {
                    let start = |index: usize| {
                        (row + index.min(height - 1)) * self.a.row + self.depth.start
                    };
                    Rows { data: self.a.data, starts: std::array::from_fn(start), step: 1 }
                },
            );
            return;
        }
        let tiles = self.rows.len().div_ceil(most);
        let mut block = Panel::lend(1, tiles * most * deep);
        let block = block.slots();
        for (tile, slots) in block.chunks_exact_mut(most * deep).enumerate() {
            let row = first + tile * most;
            let height = most.min(self.rows.end - row);
            for (slots, p) in slots.chunks_exact_mut(most).zip(self.depth.clone()) {
                let start = row * self.a.row + p * self.a.column;
                if self.a.row == 1 {
                    slots[..height].copy_from_slice(&self.a.data[start..start + height]);
                } else {
                    for (index, slot) in slots[..height].iter_mut().enumerate() {
                        *slot = self.a.data[start + index * self.a.row];
                    }
                }
            }
        }
        let block = &*block;
        self.tiles(
            simd,
            most,
            #[inline(always)]
            |row, _| {
                let start = |index: usize| (row - first) * deep + index.min(most - 1);
                Rows { data: block, starts: std::array::from_fn(start), step: most }
            },
        );
    }
}

impl Block<'_> {
    /// Computes every tile; `rows` says where the rows of one lie.
    #[inline(always)]
    fn tiles<'b, S: Simd>(&self, simd: S, most: usize, rows: impl Fn(usize, usize) -> Rows<'b>) {
        let width = WIDE * S::F32_LANES;
        let panel = self.depth.len() * width;
        for index in self.panels.clone() {
            let (right, _) = S::as_simd_f32s(&self.packed[index * panel..(index + 1) * panel]);
            let column = index * width;
            let columns = width.min(self.stride - column);
            for row in self.rows.clone().step_by(most) {
                let height = most.min(self.rows.end - row);
                let rows = rows(row, height);
                let place = (row * self.stride + column, height, columns);
                macro_rules! heights {
                    ($($height:literal)*) => {
                        $( if height <= $height {
                            if columns > S::F32_LANES {
                                self.tile::<S, $height, 2>(simd, rows, right, place);
                            } else {
                                self.tile::<S, $height, 1>(simd, rows, right, place);
                            }
                        } else )* {
                            unreachable!("a tile has at most {most} rows");
                        }
                    };
                }
                if S::F32_LANES >= 16 {
                    heights!(4 8 12);
                } else {
                    heights!(2 4 6);
                }
            }
        }
    }

    /// One tile: sums in registers over the depth of the pass.
    #[inline(always)]
    fn tile<S: Simd, const H: usize, const W: usize>(
        &self,
        simd: S,
        rows: Rows<'_>,
        right: &[S::f32s],
        (place, height, columns): (usize, usize, usize),
    ) {
        let deep = right.len() / WIDE;
        let last = (deep - 1) * rows.step;
        assert!(rows.starts.iter().all(|start| start + last < rows.data.len()));
        let mut sums = [[simd.splat_f32s(0.0); W]; H];
        for (p, right) in right.chunks_exact(WIDE).enumerate() {
            let right: [S::f32s; W] = std::array::from_fn(|index| right[index]);
            for (sums, start) in sums.iter_mut().zip(&rows.starts) {
                // SAFETY: p is below the depth, up to which the assertion above checked each row.
                let left = unsafe { *rows.data.get_unchecked(start + p * rows.step) };
                let left = simd.splat_f32s(left);
                for (sum, right) in sums.iter_mut().zip(&right) {
                    *sum = simd.mul_add_e_f32s(left, *right, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate().take(height) {
            // SAFETY: the tile at `place` lies inside `out`, and no other task has it.
            let slots = unsafe {
                std::slice::from_raw_parts_mut(self.out.0.add(place + row * self.stride), columns)
            };
            let (full, rest) = S::as_mut_simd_f32s(slots);
            for (slot, sum) in full.iter_mut().zip(sums) {
                *slot = if self.add { simd.add_f32s(*slot, *sum) } else { *sum };
            }
            if !rest.is_empty() {
                let mut sum = sums[full.len()];
                if self.add {
                    sum = simd.add_f32s(simd.partial_load_f32s(rest), sum);
                }
                simd.partial_store_f32s(rest, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Small integers: products and sums are exact.
            ((state >> 40) % 17) as f32 - 8.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn turned(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
    }

    #[test]
    fn every_shape_and_layout_gives_the_exact_product() {
        for (m, k, n) in [(4, 4, 8), (13, 7, 33), (12, 64, 32), (100, 129, 70), (5, 1600, 300)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let (at, bt) = (turned(&a, m, k), turned(&b, k, n));
            let first = values(m * n, 3);
            let mut expected = vec![0.0; m * n];
            for (i, row) in expected.chunks_exact_mut(n).enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                }
            }
            for a in [Matrix::rows(&a, k), Matrix::transposed(&at, m)] {
                for b in [Matrix::rows(&b, n), Matrix::transposed(&bt, k)] {
                    for (keep, threads) in [(false, 1), (true, 2)] {
                        let mut found = first.clone();
                        multiply(&mut found, a, b, (m, k, n), keep, threads);
                        for ((found, expected), first) in found.iter().zip(&expected).zip(&first) {
                            let expected = expected + if keep { *first } else { 0.0 };
                            assert_eq!(*found, expected, "{m} {k} {n} {a:?}");
                        }
                    }
                }
            }
        }
    }
}
