//! Parallel loops over rows.

use rayon::prelude::*;

/// Rows per task so that a task holds about 16 thousand elements: small work stays on one thread.
pub fn grain(row: usize) -> usize {
    (16_384 / row.max(1)).max(1)
}

/// Calls `body(index, row)` for each row of `row` elements.
pub fn for_each_row_mut<T: Send>(
    data: &mut [T],
    row: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    if row == 0 || data.is_empty() {
        return;
    }
    let rows = grain(row);
    if data.len() <= rows * row {
        data.chunks_mut(row).enumerate().for_each(|(index, slice)| body(index, slice));
        return;
    }
    data.par_chunks_mut(rows * row).enumerate().for_each(|(chunk, slice)| {
        slice
            .chunks_mut(row)
            .enumerate()
            .for_each(|(index, slice)| body(chunk * rows + index, slice));
    });
}

/// Calls `body(index, out, input)` for rows of an output and rows of an input side by side.
pub fn for_each_row<I: Sync, O: Send>(
    output: &mut [O],
    out_row: usize,
    input: &[I],
    in_row: usize,
    body: impl Fn(usize, &mut [O], &[I]) + Sync,
) {
    for_each_row_mut(output, out_row, |index, out| {
        body(index, out, &input[index * in_row..(index + 1) * in_row]);
    });
}

/// Runs a loop compiled for the widest vectors that the processor has (AVX2, AVX-512, NEON). What
/// it calls must be inlined to profit: closures and `#[inline(always)]` functions are.
#[inline(always)]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}
