//! What matrix products in f32 and in bf16 share: memory for packed panels, and the division of a pass
//! into tasks.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

thread_local! {
    /// Memory for packed panels, kept between products: fresh pages cost more than packing.
    static PANELS: Cell<[Vec<u32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Words of a cache line: panels begin with one, so that registers do not straddle two.
const LINE: usize = 16;

/// What a thread packs: columns of `b` for all tasks of a pass, or rows of `a` for its own task.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Columns,
    Rows,
}

/// One of this thread's two buffers, lent until it is dropped; a product that a waiting thread runs in
/// between finds none and makes its own.
///
/// A guard and not a function that takes a closure: what a closure computes is compiled without the
/// instructions that its caller chose, unless it is inlined all the way.
pub(super) struct Panels {
    side: Side,
    len: usize,
    buffer: Vec<u32>,
}

impl Panels {
    /// `len` words of 32 bits, of any contents.
    pub(super) fn lend(side: Side, len: usize) -> Self {
        let mut buffers = PANELS.take();
        let mut buffer = std::mem::take(&mut buffers[side as usize]);
        PANELS.set(buffers);
        if buffer.len() < len + LINE {
            buffer.resize(len + LINE, 0);
        }
        Self { side, len, buffer }
    }

    /// As pairs of bf16.
    pub(super) fn pairs(&mut self) -> &mut [u32] {
        let start = self.buffer.as_ptr().align_offset(4 * LINE).min(LINE);
        &mut self.buffer[start..start + self.len]
    }

    /// As f32.
    pub(super) fn floats(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.pairs())
    }
}

impl Drop for Panels {
    fn drop(&mut self) {
        let mut buffers = PANELS.take();
        buffers[self.side as usize] = std::mem::take(&mut self.buffer);
        PANELS.set(buffers);
    }
}

/// A pointer that tasks share to write disjoint rectangles.
pub(super) struct Shared<T>(pub *mut T);
// SAFETY: whoever makes one gives each task a rectangle of its own.
unsafe impl<T: Send> Sync for Shared<T> {}

/// So many lines before they are packed, they are asked for: those of a matrix that is read across lie
/// too far apart for the processor to see them coming.
pub(super) const AHEAD: usize = 8;

/// Calls `pack(index, panel)` for each panel of `len` words.
pub(super) fn pack<T: Send>(
    packed: &mut [T],
    len: usize,
    threads: usize,
    pack: impl Fn(usize, &mut [T]) + Sync,
) {
    if threads > 1 {
        packed.par_chunks_mut(len).enumerate().for_each(|(index, panel)| pack(index, panel));
    } else {
        packed.chunks_mut(len).enumerate().for_each(|(index, panel)| pack(index, panel));
    }
}

/// Calls `task(rows, panels)` for blocks of `m` rows by groups of panels that cover a pass, for some
/// tasks a thread.
///
/// Tall blocks read each panel less often. But a task that shares its rows with others packs them
/// again, if they are packed: then blocks are divided first, down to two tiles.
pub(super) fn divide(
    (m, panels): (usize, usize),
    (tile, packs_rows): (usize, bool),
    threads: usize,
    task: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    /// Most tiles of rows of a task: they stay in the second-level cache with a panel.
    const TALL: usize = 8;
    /// Fewest panels of a task.
    const WIDE: usize = 4;
    let wanted = if threads > 1 { 4 * threads } else { 1 };
    let least = if packs_rows { 2 * tile } else { TALL * tile };
    let rows = m.div_ceil(wanted).next_multiple_of(tile).clamp(least, TALL * tile);
    // As many for each thread: three blocks would keep one of two threads waiting.
    let rows = m.div_ceil(m.div_ceil(rows).next_multiple_of(threads)).next_multiple_of(tile);
    let blocks = m.div_ceil(rows);
    let group = panels.div_ceil(wanted.div_ceil(blocks)).max(WIDE);
    let groups = panels.div_ceil(group);
    let task = |index: usize| {
        let (row, panel) = (index / groups * rows, index % groups * group);
        task(row..m.min(row + rows), panel..panels.min(panel + group));
    };
    let tasks = blocks * groups;
    if threads > 1 && tasks > 1 {
        (0..tasks).into_par_iter().for_each(task);
    } else {
        (0..tasks).for_each(task);
    }
}
