//! Windows of a map as rows of a matrix, and the adjoint: what makes a convolution a matrix product.
//!
//! A row holds the elements of one window, (tap, channel) in row-major order; rows are the windows
//! of one image after the other.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Window;
use crate::cpu::{Acc, grain, vectorized};
use crate::{Array, Result};

/// The channels of a map that a matrix holds: one group of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    /// All channels of the map.
    pub of: usize,
    /// The first one held.
    pub start: usize,
    /// How many are held.
    pub len: usize,
}

/// Writes the windows of the output rows `rows`, counted over all images, to `matrix`.
#[inline(always)]
pub(super) fn unfold<T: Copy + Default>(
    x: &[T],
    window: &Window,
    channels: Channels,
    rows: Range<usize>,
    matrix: &mut [T],
) {
    let [height, width] = window.input;
    let [kernel_h, kernel_w] = window.kernel;
    let len = channels.len;
    let mut lines = matrix.chunks_exact_mut(kernel_w * len);
    for row in rows {
        let (image, row) = (row / window.output[0], row % window.output[0]);
        for column in 0..window.output[1] {
            let inside = inside(window, column);
            for tap_h in 0..kernel_h {
                let line = lines.next().expect("the matrix has a line per window and kernel row");
                let Some(y) = window.source(0, row, tap_h) else {
                    line.fill(T::default());
                    continue;
                };
                let y = (image * height + y) * width;
                if inside && len == channels.of {
                    let start = (y + column * window.stride[1] - window.padding[1]) * len;
                    copy_line(line, &x[start..start + kernel_w * len]);
                    continue;
                }
                for (tap_w, slot) in line.chunks_exact_mut(len).enumerate() {
                    match window.source(1, column, tap_w) {
                        Some(x_position) => {
                            let start = (y + x_position) * channels.of + channels.start;
                            slot.copy_from_slice(&x[start..start + len]);
                        }
                        None => slot.fill(T::default()),
                    }
                }
            }
        }
    }
}

/// Copies a line of a window: a short one by moves of registers, of which the last two may overlap,
/// where a call would cost more.
#[inline(always)]
fn copy_line<T: Copy>(to: &mut [T], from: &[T]) {
    const STEP: usize = 8;
    let len = from.len();
    if !(STEP..=8 * STEP).contains(&len) {
        to.copy_from_slice(from);
        return;
    }
    let mut step = |at: usize| {
        let to: &mut [T; STEP] = (&mut to[at..at + STEP]).try_into().expect("of that length");
        *to = from[at..at + STEP].try_into().expect("of that length");
    };
    (0..len - STEP).step_by(STEP).for_each(&mut step);
    step(len - STEP);
}

/// [`unfold`] of the output rows from `first` on that fill the matrix, in parallel.
pub(super) fn unfold_all<T: Copy + Default + Send + Sync>(
    x: &[T],
    window: &Window,
    channels: Channels,
    first: usize,
    matrix: &mut [T],
) {
    let row = window.output[1] * window.taps() * channels.len;
    let rows = grain(row);
    matrix.par_chunks_mut(rows * row).enumerate().for_each(|(index, lines)| {
        let first = first + index * rows;
        let rows = first..first + lines.len() / row;
        vectorized(
            #[inline(always)]
            || unfold(x, window, channels, rows, lines),
        );
    });
}

/// Adds the windows in `matrix`, those of the output rows `rows` of one image, to the map `x` of that
/// image.
#[inline(always)]
pub(super) fn fold<T: Acc>(
    matrix: &[T],
    window: &Window,
    channels: Channels,
    rows: Range<usize>,
    x: &mut [T],
) {
    let width = window.input[1];
    let [kernel_h, kernel_w] = window.kernel;
    let len = channels.len;
    let mut lines = matrix.chunks_exact(kernel_w * len);
    for row in rows {
        for column in 0..window.output[1] {
            let inside = inside(window, column) && len == channels.of;
            for tap_h in 0..kernel_h {
                let line = lines.next().expect("the matrix has a line per window and kernel row");
                let Some(y) = window.source(0, row, tap_h) else { continue };
                let y = y * width;
                if inside {
                    let start = (y + column * window.stride[1] - window.padding[1]) * len;
                    let sums = &mut x[start..start + kernel_w * len];
                    sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += *value);
                    continue;
                }
                for (tap_w, slot) in line.chunks_exact(len).enumerate() {
                    let Some(x_position) = window.source(1, column, tap_w) else { continue };
                    let start = (y + x_position) * channels.of + channels.start;
                    let sums = &mut x[start..start + len];
                    sums.iter_mut().zip(slot).for_each(|(sum, value)| *sum += *value);
                }
            }
        }
    }
}

/// Whether the rows of the windows in this column lie in memory as they lie in the map.
fn inside(window: &Window, column: usize) -> bool {
    let first = column * window.stride[1];
    first >= window.padding[1]
        && first + window.kernel[1] <= window.input[1] + window.padding[1]
        && window.dilation[1] == 1
}

/// The element that each tap reads in every window, as views of one padded copy: per tap, in
/// row-major order, (B, OH, OW, C). The padding holds `fill`.
pub(super) fn taps(x: &Array, window: &Window, fill: f64) -> Result<Vec<Array>> {
    let (batch, _, _, channels) = x.dims4()?;
    let cells = cells(window);
    let mut padded = x.clone();
    #[allow(clippy::needless_range_loop, reason = "the axis indexes several arrays")]
    for axis in 0..2 {
        let size = cells[axis] * window.stride[axis];
        let after = size - window.padding[axis] - window.input[axis];
        padded = pad(&padded, axis + 1, window.padding[axis], after, fill)?;
    }
    // Splitting each axis into (cell, phase) makes a stride a plain dimension.
    let split = padded.contiguous()?.reshape(vec![
        batch,
        cells[0],
        window.stride[0],
        cells[1],
        window.stride[1],
        channels,
    ])?;
    places(window)
        .map(|(cell, phase)| {
            let view = split
                .narrow(1, cell[0], window.output[0])?
                .narrow(2, phase[0], 1)?
                .narrow(3, cell[1], window.output[1])?
                .narrow(4, phase[1], 1)?;
            Ok(view.squeeze(4)?.squeeze(2)?)
        })
        .collect()
}

/// The adjoint of [`taps`] with a padding of zeros: the sum of what each tap holds, per position.
pub(super) fn fold_taps(taps: &[Array], window: &Window) -> Result<Array> {
    let (batch, _, _, channels) = taps[0].dims4()?;
    let cells = cells(window);
    let [stride_h, stride_w] = window.stride;
    let mut phases: Vec<Option<Array>> = vec![None; stride_h * stride_w];
    for (tap, (cell, phase)) in taps.iter().zip(places(window)) {
        let mut grown = tap.clone();
        for axis in 0..2 {
            let after = cells[axis] - cell[axis] - window.output[axis];
            grown = pad(&grown, axis + 1, cell[axis], after, 0.0)?;
        }
        let slot = &mut phases[phase[0] * stride_w + phase[1]];
        *slot = Some(match slot.take() {
            Some(sum) => (sum + grown)?,
            None => grown,
        });
    }
    let zeros =
        || Array::zeros((batch, cells[0], cells[1], channels), taps[0].dtype(), taps[0].device());
    let phases = phases
        .into_iter()
        .map(|phase| Ok(phase.map_or_else(zeros, Ok)?.contiguous()?.unsqueeze(0)?))
        .collect::<Result<Vec<_>>>()?;
    let mut map = Array::cat(&phases, 0)?
        .reshape(vec![stride_h, stride_w, batch, cells[0], cells[1], channels])?
        .permute(vec![2, 3, 0, 4, 1, 5])?
        .reshape((batch, cells[0] * stride_h, cells[1] * stride_w, channels))?;
    for axis in 0..2 {
        map = map.narrow(axis + 1, window.padding[axis], window.input[axis])?;
    }
    Ok(map)
}

/// How many strides cover the padded map.
fn cells(window: &Window) -> [usize; 2] {
    [0, 1].map(|axis| (window.input[axis] + 2 * window.padding[axis]).div_ceil(window.stride[axis]))
}

/// For each tap the cell and the phase, the offset in strides and what remains, of its element in
/// the first window.
fn places(window: &Window) -> impl Iterator<Item = ([usize; 2], [usize; 2])> {
    let window = *window;
    (0..window.taps()).map(move |tap| {
        let tap = [tap / window.kernel[1], tap % window.kernel[1]];
        let offset = [0, 1].map(|axis| tap[axis] * window.dilation[axis]);
        (
            [0, 1].map(|axis| offset[axis] / window.stride[axis]),
            [0, 1].map(|axis| offset[axis] % window.stride[axis]),
        )
    })
}

/// Grows a dimension on both sides.
fn pad(x: &Array, dim: usize, before: usize, after: usize, fill: f64) -> Result<Array> {
    if fill == 0.0 || before + after == 0 {
        return Ok(x.pad_with_zeros(dim, before, after)?);
    }
    let side = |size: usize| -> Result<Option<Array>> {
        if size == 0 {
            return Ok(None);
        }
        let mut dims = x.dims().to_vec();
        dims[dim] = size;
        Ok(Some(Array::full(fill as f32, dims, x.device())?.to_dtype(x.dtype())?))
    };
    let parts: Vec<Array> =
        [side(before)?, Some(x.clone()), side(after)?].into_iter().flatten().collect();
    Ok(Array::cat(&parts, dim)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu;
    use crate::ops::Geometry;

    /// <unfold(x), m> = <x, fold(m)>, and both ways of unfolding agree.
    #[test]
    fn folding_is_the_adjoint_of_unfolding() -> Result<()> {
        let geometry =
            Geometry { stride: [2, 1], padding: [1, 2], dilation: [1, 2], ..Geometry::PLAIN };
        let window = Window::new("Conv2d", [6, 7], [3, 2], &geometry)?;
        let (batch, channels) = (2, 3);
        let x: Vec<f64> =
            (0..batch * 42 * channels).map(|i| ((i * 37) % 101) as f64 - 50.0).collect();
        let len = batch * window.pixels() * window.taps() * channels;
        let all = Channels { of: channels, start: 0, len: channels };
        let mut matrix = vec![f64::NAN; len];
        unfold_all(&x, &window, all, 0, &mut matrix);
        let cotangent: Vec<f64> = (0..len).map(|i| ((i * 53) % 97) as f64 - 48.0).collect();
        let mut folded = vec![0.0; x.len()];
        let image = x.len() / batch;
        for (folded, cotangent) in folded.chunks_mut(image).zip(cotangent.chunks(len / batch)) {
            let (top, bottom) = cotangent.split_at(2 * cotangent.len() / window.output[0]);
            fold(top, &window, all, 0..2, folded);
            fold(bottom, &window, all, 2..window.output[0], folded);
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert_eq!(dot(&matrix, &cotangent), dot(&x, &folded));

        let map = cpu::from_vec(x, (batch, 6, 7, channels))?;
        let views = taps(&map, &window, 0.0)?;
        let stacked = Array::stack(&views, 3)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(stacked, matrix);
        let shape = (batch, window.output[0], window.output[1], window.taps(), channels);
        let cotangent = cpu::from_vec(cotangent, shape)?;
        let views = (0..window.taps())
            .map(|tap| Ok(cotangent.narrow(3, tap, 1)?.squeeze(3)?))
            .collect::<Result<Vec<_>>>()?;
        let portable = fold_taps(&views, &window)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(portable, folded);
        Ok(())
    }
}
