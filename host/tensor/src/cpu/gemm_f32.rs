//! Matrix products in f32 by fused multiply-adds over the widest registers.
//!
//! Columns of `b` are packed into panels two registers wide. A tile of sums, as many rows as fit the
//! register file, stays in registers for the depth of a pass; the elements of `a` are broadcast from
//! where they lie if its rows or its columns are contiguous, else from a packed copy. What a tile reads
//! and writes for the first time is asked for while sums are made: most matrices of a step come from
//! memory, not from a cache. Every element of the product is summed by one task in order of depth: the
//! result does not depend on the number of threads.

mod packed;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::panels::{AHEAD, Panels, Shared, Side, divide, pack};
use super::transposed::{better_turned, turn_back};
use super::{Gathered, Matrix, Start, fetch, fetch_line, fetch_to_write, unwritten};

pub use packed::Packed;

/// Most rows of a tile: 24 sums, two columns and a broadcast of 32 registers.
const ROWS: usize = 12;
/// Registers in a row of a tile.
const WIDE: usize = 2;
/// Depth of one pass: a panel and a block of rows share the second-level cache.
const DEPTH: usize = 768;
/// Steps of depth that a cache line of a row holds.
const LINE: usize = 16;
/// Depth from which columns of `a` are read where they lie: what is asked for ahead then comes in time.
const DEEP_ENOUGH: usize = 256;

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
pub fn pays((m, k, n): (usize, usize, usize)) -> bool {
    m >= 4 && n >= 8 && k >= 4 && lanes() >= 8
}

/// The left matrix of a product.
#[derive(Clone, Copy)]
enum Left<'a> {
    Matrix(Matrix<'a, f32>),
    Gathered(Gathered<'a, f32>),
}

impl Left<'_> {
    fn covers(&self, rows: usize, columns: usize) -> bool {
        match self {
            Self::Matrix(a) => a.covers(rows, columns),
            Self::Gathered(a) => a.covers(rows, columns),
        }
    }

    /// Whether elements are broadcast from where they lie.
    fn lies_ready(&self, deep: usize) -> bool {
        match self {
            Self::Matrix(a) => a.column == 1 || (a.row == 1 && deep >= DEEP_ENOUGH),
            Self::Gathered(_) => true,
        }
    }

    /// The depths of each pass over k: near-equal, and whole runs.
    fn passes(&self, k: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let unit = if let Self::Gathered(a) = self { a.run } else { 1 };
        let units = k / unit;
        let passes = units.div_ceil((DEPTH / unit).max(1));
        (0..passes)
            .map(move |pass| pass * units / passes * unit..(pass + 1) * units / passes * unit)
    }
}

/// `out` (row-major m x n) = start + a (m x k) b (k x n). Writes every element.
///
/// # Panics
/// A slice is shorter than its matrix.
pub(super) fn multiply(
    out: &mut [f32],
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    if better_turned((m, k, n), b.row == 1 || b.column == 1) {
        let mut turned = unwritten(m * n);
        let (left, right) = (Left::Matrix(b.turned()), a.turned());
        multiply_left(&mut turned, left, right, (n, k, m), Start::Zero, threads);
        return turn_back(out, &turned, (m, n), start, threads);
    }
    multiply_left(out, Left::Matrix(a), b, (m, k, n), start, threads);
}

/// [`multiply`] of rows that are gathered.
///
/// # Panics
/// As of [`multiply`].
pub fn gathered_into(
    out: &mut [f32],
    a: Gathered<'_, f32>,
    b: Matrix<'_, f32>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    multiply_left(out, Left::Gathered(a), b, (m, k, n), start, threads);
}

fn multiply_left(
    out: &mut [f32],
    a: Left<'_>,
    b: Matrix<'_, f32>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, f32>,
    threads: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "matrix outside its slice");
    let width = WIDE * lanes();
    let bias = match start {
        Start::Bias(bias) => {
            assert_eq!(bias.len(), n, "a bias for each column");
            let mut padded = bias.to_vec();
            padded.resize(n.next_multiple_of(width), 0.0);
            Some(padded)
        }
        Start::Zero | Start::Out => None,
    };
    let shared = Shared(out.as_mut_ptr());
    for depth in a.passes(k) {
        let first = depth.start == 0;
        let panel = depth.len() * width;
        let panels = n.div_ceil(width);
        let mut packed = Panels::lend(Side::Columns, panels * panel);
        let packed = packed.floats();
        pack(packed, panel, threads, |index, panel| {
            let first = index * width;
            pack_columns(panel, b, depth.clone(), first..n.min(first + width), width);
        });
        divide((m, panels), (ROWS, !a.lies_ready(depth.len())), threads, |rows, panels| {
            pulp::Arch::new().dispatch(Block {
                out: &shared,
                stride: n,
                a,
                packed,
                panel,
                rows,
                panels,
                depth: depth.clone(),
                bias: bias.as_deref().filter(|_| first),
                add: !first || matches!(start, Start::Out),
            });
        });
    }
}

/// Copies a few numbers, by moves of registers where they fill a tile: a call for each costs more.
#[inline(always)]
fn copy_short(to: &mut [f32], from: &[f32]) {
    macro_rules! lengths {
        ($($length:literal)*) => {
            match from.len() {
                $( $length => {
                    let to: &mut [f32; $length] = to.try_into().expect("as long as what comes");
                    *to = from.try_into().expect("of that length");
                } )*
                _ => to.copy_from_slice(from),
            }
        };
    }
    lengths!(6 12 16 32);
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
            let line = &b.data[p * b.row + columns.start..][..columns.len()];
            fetch_line(line.as_ptr().wrapping_add(AHEAD * b.row), columns.len());
            copy_short(&mut slots[..columns.len()], line);
        }
        return;
    }
    let count = depth.len();
    let start = columns.start * b.column + depth.start * b.row;
    // Squares that were turned in registers: so many lanes by so much depth.
    let (mut lanes, mut deep) = (0, 0);
    #[cfg(target_arch = "x86_64")]
    if b.row == 1 && is_x86_feature_detected!("avx") {
        use super::turn::{SIDE, copy_turned};
        (lanes, deep) = (columns.len() / SIDE * SIDE, count / SIDE * SIDE);
        if lanes > 0 && deep > 0 {
            let last = start + (lanes - 1) * b.column + deep - 1;
            assert!(last < b.data.len() && (deep - 1) * width + lanes <= panel.len());
        }
        for p in (0..deep).step_by(SIDE) {
            for lane in (0..lanes).step_by(SIDE) {
                // SAFETY: AVX is there; the last elements of the last square are inside, as asserted.
                unsafe {
                    let from = b.data.as_ptr().add(start + lane * b.column + p);
                    copy_turned(panel.as_mut_ptr().add(p * width + lane), width, from, b.column);
                }
            }
        }
    }
    // In runs whose lines of the panel stay in the first-level cache.
    for run in (0..count).step_by(64) {
        for lane in 0..columns.len() {
            let done = if lane < lanes { deep } else { 0 };
            for p in run.max(done)..count.min(run + 64) {
                panel[p * width + lane] = b.data[start + lane * b.column + p * b.row];
            }
        }
    }
}

/// The first W elements.
#[inline(always)]
fn first<T: Copy, const W: usize>(slice: &[T]) -> [T; W] {
    *slice.first_chunk().expect("a tile is no wider than a panel")
}

/// The part of a pass that one task computes: some rows by some panels.
struct Block<'a> {
    out: &'a Shared<f32>,
    /// Distance between rows of `out`, which is its number of columns.
    stride: usize,
    a: Left<'a>,
    packed: &'a [f32],
    /// Distance between panels of `packed`.
    panel: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    depth: Range<usize>,
    /// What the sums start from, a number for each column of the panels.
    bias: Option<&'a [f32]>,
    /// Whether the sums are added to what is there.
    add: bool,
}

/// How the rows of a block lie: where each starts, and how far apart its elements are, in runs of so many
/// that begin so far apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    starts: Starts<'a>,
    step: usize,
    run: usize,
    apart: usize,
    soon: Soon,
}

/// Where the rows of a block start.
#[derive(Clone, Copy)]
enum Starts<'a> {
    /// The first row of a tile as many `of_tile` behind `first` as there are rows before it in the block,
    /// and the others `of_row` behind each other.
    Evenly { first: usize, of_tile: usize, of_row: usize },
    /// So much behind where these say.
    Gathered(&'a [usize], usize),
}

impl Starts<'_> {
    /// Those of the tile from row `at` of the block on; rows behind its height are its last one again.
    #[inline(always)]
    fn of_tile(&self, at: usize, height: usize) -> [usize; ROWS] {
        let mut starts = [0; ROWS];
        for (index, start) in starts.iter_mut().enumerate() {
            let index = index.min(height - 1);
            *start = match self {
                Self::Evenly { first, of_tile, of_row } => first + at * of_tile + index * of_row,
                Self::Gathered(starts, skip) => starts[at + index] + skip,
            };
        }
        starts
    }
}

/// What is asked for while a tile is summed.
#[derive(Clone, Copy)]
enum Soon {
    Nothing,
    /// The rows so far behind these: those of the next tile.
    Rows(usize),
    /// These rows, [`Soon::DEEP`] elements on.
    Depth,
}

impl Soon {
    const DEEP: usize = 24;
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let most = if S::F32_LANES >= 16 { ROWS } else { ROWS / 2 };
        let (first, deep) = (self.rows.start, self.depth.len());
        let mut block;
        let rows = match self.a {
            Left::Gathered(Gathered { data, starts, run, apart }) => {
                let starts = Starts::Gathered(&starts[first..], self.depth.start / run * apart);
                Rows { data, starts, step: 1, run, apart, soon: Soon::Nothing }
            }
            Left::Matrix(Matrix { data, row, column }) if self.a.lies_ready(deep) => {
                let soon = if column == 1 { Soon::Rows(most * row) } else { Soon::Depth };
                let first = first * row + self.depth.start * column;
                let starts = Starts::Evenly { first, of_tile: row, of_row: row };
                Rows { data, starts, step: column, run: deep, apart: 0, soon }
            }
            Left::Matrix(a) => {
                block = Panels::lend(Side::Rows, self.rows.len().div_ceil(most) * most * deep);
                let data = block.floats();
                self.pack_rows(data, a, most);
                let starts = Starts::Evenly { first: 0, of_tile: deep, of_row: 1 };
                Rows { data, starts, step: most, run: deep, apart: 0, soon: Soon::Nothing }
            }
        };
        // The one place where tiles are: the compiler makes good code of them once or not at all.
        self.tiles(simd, most, rows);
    }
}

impl Block<'_> {
    /// The rows of this block as (tile, depth, row of the tile).
    #[inline(always)]
    fn pack_rows(&self, block: &mut [f32], a: Matrix<'_, f32>, most: usize) {
        let (rows, deep) = (self.rows.len(), self.depth.len());
        for (index, p) in self.depth.clone().enumerate() {
            let start = self.rows.start * a.row + p * a.column;
            if a.row == 1 {
                // Row by row of what lies in memory: tile by tile would come back to each line of it.
                let line = &a.data[start..start + rows];
                fetch_line(line.as_ptr().wrapping_add(AHEAD * a.column), rows);
                for (tile, values) in line.chunks(most).enumerate() {
                    copy_short(&mut block[(tile * deep + index) * most..][..values.len()], values);
                }
            } else {
                for row in 0..rows {
                    let slot = (row / most * deep + index) * most + row % most;
                    block[slot] = a.data[start + row * a.row];
                }
            }
        }
    }

    /// Computes every tile.
    #[inline(always)]
    fn tiles<S: Simd>(&self, simd: S, most: usize, mut rows: Rows<'_>) {
        let width = WIDE * S::F32_LANES;
        let deep = self.depth.len() * width;
        for index in self.panels.clone() {
            let (right, _) = S::as_simd_f32s(&self.packed[index * self.panel..][..deep]);
            let column = index * width;
            let columns = width.min(self.stride - column);
            let mut start = [simd.splat_f32s(0.0); WIDE];
            if let Some(bias) = self.bias {
                start.copy_from_slice(S::as_simd_f32s(&bias[column..column + width]).0);
            }
            for at in (0..self.rows.len()).step_by(most) {
                let height = most.min(self.rows.len() - at);
                let place = ((self.rows.start + at) * self.stride + column, height, columns);
                let starts = rows.starts.of_tile(at, height);
                macro_rules! heights {
                    ($($height:literal)*) => {
                        $( if height <= $height {
                            if columns > S::F32_LANES {
                                self.tile::<S, $height, 2>(simd, (&rows, &starts), right, start, place);
                            } else {
                                self.tile::<S, $height, 1>(simd, (&rows, &starts), right, start, place);
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
            if matches!(rows.soon, Soon::Rows(_)) {
                rows.soon = Soon::Nothing;
            }
        }
    }

    /// One tile: sums in registers over the depth of the pass.
    #[inline(always)]
    fn tile<S: Simd, const H: usize, const W: usize>(
        &self,
        simd: S,
        (rows, starts): (&Rows<'_>, &[usize; ROWS]),
        right: &[S::f32s],
        start: [S::f32s; WIDE],
        (place, height, columns): (usize, usize, usize),
    ) {
        let deep = right.len() / WIDE;
        let last = (deep / rows.run - 1) * rows.apart + (rows.run - 1) * rows.step;
        assert!(deep.is_multiple_of(rows.run));
        assert!(starts.iter().all(|start| start + last < rows.data.len()));
        for row in 0..height {
            for index in 0..W {
                let at = place + row * self.stride + index * S::F32_LANES;
                fetch_to_write(self.out.0.wrapping_add(at));
            }
        }
        // Plain loops from here on: a closure that is not inlined would empty the registers.
        let start: [S::f32s; W] = first(&start);
        let mut sums = [start; H];
        for (run, right) in right.chunks(rows.run * WIDE).enumerate() {
            // SAFETY: inside the data, for the last element of each row is.
            let data = unsafe { rows.data.as_ptr().add(run * rows.apart) };
            for (line, right) in right.chunks(LINE * WIDE).enumerate() {
                if let Soon::Rows(next) = rows.soon {
                    for start in starts {
                        fetch(data.wrapping_add(start + next + line * LINE));
                    }
                }
                for (p, right) in right.chunks_exact(WIDE).enumerate() {
                    let p = line * LINE + p;
                    if let Soon::Depth = rows.soon {
                        let ahead = (p + Soon::DEEP) * rows.step;
                        fetch(data.wrapping_add(starts[0] + ahead));
                        fetch(data.wrapping_add(starts[H - 1] + ahead));
                    }
                    let right: [S::f32s; W] = first(right);
                    for (sums, start) in sums.iter_mut().zip(starts) {
                        // SAFETY: p is below the run, for the last of which the assertion above
                        // checked each row.
                        let left = unsafe { *data.add(start + p * rows.step) };
                        let left = simd.splat_f32s(left);
                        for (sum, right) in sums.iter_mut().zip(&right) {
                            *sum = simd.mul_add_e_f32s(left, *right, *sum);
                        }
                    }
                }
            }
        }
        // SAFETY: the tile at `place` lies inside `out`, and no other task has it.
        unsafe {
            let corner = self.out.0.add(place);
            if height == H && columns == W * S::F32_LANES {
                for (row, sums) in sums.iter().enumerate() {
                    for (index, sum) in sums.iter().enumerate() {
                        let at = row * self.stride + index * S::F32_LANES;
                        let slot = corner.add(at).cast::<S::f32s>();
                        let before =
                            if self.add { slot.read_unaligned() } else { simd.splat_f32s(0.0) };
                        slot.write_unaligned(simd.add_f32s(before, *sum));
                    }
                }
                return;
            }
            // By way of memory: sums that are picked by a number that is not known before would
            // not stay in registers above.
            let mut kept = [[simd.splat_f32s(0.0); W]; H];
            for (kept, sums) in kept.iter_mut().zip(&sums) {
                for (kept, sum) in kept.iter_mut().zip(sums) {
                    *kept = *sum;
                }
            }
            for (row, sums) in kept.iter().enumerate().take(height) {
                for (index, sum) in sums.iter().enumerate() {
                    let first = index * S::F32_LANES;
                    let slots = corner.add(row * self.stride + first);
                    let slots = std::slice::from_raw_parts_mut(
                        slots,
                        columns.saturating_sub(first).min(S::F32_LANES),
                    );
                    let before =
                        if self.add { simd.partial_load_f32s(slots) } else { simd.splat_f32s(0.0) };
                    simd.partial_store_f32s(slots, simd.add_f32s(before, *sum));
                }
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
        for (m, k, n) in
            [(4, 4, 8), (13, 7, 33), (12, 64, 32), (100, 129, 70), (5, 1600, 300), (37, 1030, 80)]
        {
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
                    for (start, threads) in
                        [(Start::Zero, 1), (Start::Out, 2), (Start::Bias(&first[..n]), 2)]
                    {
                        let mut found = first.clone();
                        if !matches!(start, Start::Out) {
                            found.fill(f32::NAN);
                        }
                        multiply(&mut found, a, b, (m, k, n), start, threads);
                        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                            let before = match start {
                                Start::Zero => 0.0,
                                Start::Out => first[index],
                                Start::Bias(bias) => bias[index % n],
                            };
                            assert_eq!(*found, before + expected, "{m} {k} {n} {a:?} {start:?}");
                        }
                    }
                }
            }
        }
    }
}
