//! Which pixels meet which taps, and the buffer that these are copied to.

use std::ops::Range;

use pulp::Simd;

use super::LANES;
use crate::cpu::{self, Acc as _, Aligned, Real, Vector, is_rounded};
use crate::ops::geometry::Window;

/// Elements of a buffer: it stays in the first-level cache with the weights.
const BUFFER: usize = 8192;

/// A correlation with stride over a map whose elements lie `spread` apart, after padding.
pub(super) struct Correlation {
    pub source: [usize; 2],
    pub spread: [usize; 2],
    /// Where element 0 of the source lies; negative where padding turns into cropping.
    pub offset: [isize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub channels: usize,
}

/// How the pixels that a tile reads lie.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Anyhow.
    Any,
    /// Side by side, and a filter of so many taps reads each of them; `whole` if they are a line of the
    /// map, with half of a filter of padding on each side.
    Dense { kernel: usize, whole: bool },
}

impl Correlation {
    pub fn forward(window: &Window, channels: usize) -> Self {
        Self {
            source: window.input,
            spread: [1, 1],
            offset: window.padding.map(|padding| padding as isize),
            output: window.output,
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            channels,
        }
    }

    pub fn backward(window: &Window, channels: usize) -> Self {
        Self {
            source: window.output,
            spread: window.stride,
            offset: [0, 1].map(|axis| {
                (window.dilation[axis] * (window.kernel[axis] - 1)) as isize
                    - window.padding[axis] as isize
            }),
            output: window.input,
            kernel: window.kernel,
            stride: [1, 1],
            dilation: window.dilation,
            channels,
        }
    }

    /// Buffer positions that `outputs` windows in a line reach.
    pub fn reach(&self, axis: usize, outputs: usize) -> usize {
        (outputs - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output rows that are computed from one filling of the buffer.
    pub fn band(&self) -> usize {
        let row = self.reach(1, self.output[1]) * LANES;
        let halo = self.dilation[0] * (self.kernel[0] - 1) + 1;
        let rows = (BUFFER / row).saturating_sub(halo) / self.stride[0] + 1;
        rows.max(halo).min(self.output[0])
    }

    /// The bands of all images: (image, first row, rows).
    pub fn bands(&self, batch: usize) -> Vec<(usize, usize, usize)> {
        let band = self.band();
        (0..batch)
            .flat_map(|image| {
                (0..self.output[0])
                    .step_by(band)
                    .map(move |first| (image, first, band.min(self.output[0] - first)))
            })
            .collect()
    }

    /// The taps, down the filter, of a window whose first line is `line` of the padded map, from the first
    /// one within the map to the last.
    #[inline(always)]
    pub fn lines_of_map(&self, line: usize) -> Range<usize> {
        let dilation = self.dilation[0];
        let before = usize::try_from(self.offset[0] - line as isize).unwrap_or(0);
        let end = self.offset[0] + ((self.source[0] - 1) * self.spread[0]) as isize + 1;
        let left = usize::try_from(end - line as isize).unwrap_or(0);
        before.div_ceil(dilation)..left.div_ceil(dilation).min(self.kernel[0])
    }

    /// Whether a line of the padded map is none of the map's.
    #[inline(always)]
    pub fn is_padding(&self, line: usize) -> bool {
        let line = line as isize - self.offset[0];
        source(line, self.spread[0], self.source[0]).is_none()
    }

    /// How tiles of so many pixels are computed.
    #[inline(always)]
    pub fn form<S: Simd>(&self, pixels: usize) -> Form {
        let kernel = self.kernel[1];
        // With fewer registers the pixels would not stay in them.
        if S::REGISTER_COUNT < 32 || self.stride[1] != 1 || self.dilation[1] != 1 {
            return Form::Any;
        }
        let whole = self.output[1] == pixels
            && self.source[1] == pixels
            && self.spread[1] == 1
            && self.offset[1] == (kernel / 2) as isize;
        Form::Dense { kernel, whole }
    }

    pub fn buffer<T: Vector>(&self) -> Aligned<T> {
        Aligned::zeroed(self.reach(0, self.band()) * self.reach(1, self.output[1]) * LANES)
    }

    /// Place for the sums of a band, where they are rounded together.
    pub fn sums<E: Real<Acc: Vector>>(&self) -> Aligned<E::Acc> {
        let pixels = if is_rounded::<E>() { self.band() * self.output[1] } else { 0 };
        Aligned::zeroed(pixels * LANES)
    }

    /// Copies the channels from `first` of the rows that a band reads into the buffer. Its positions
    /// between and beside the pixels are and stay 0; lines of padding keep what they hold, for nobody
    /// reads them.
    pub fn fill<E: Real<Acc: Vector>>(
        &self,
        buffer: &mut [E::Acc],
        image: &[E],
        row: usize,
        rows: usize,
        first: usize,
    ) {
        let width = self.reach(1, self.output[1]);
        let (offset, spread) = (self.offset[1], self.spread[1]);
        let lanes = LANES.min(self.channels - first);
        // Pixels of a row that lie in the buffer, and the position of the first.
        let skipped = usize::try_from(-offset).unwrap_or(0).div_ceil(spread);
        let start = (offset + (skipped * spread) as isize) as usize;
        let pixels = width.saturating_sub(start).div_ceil(spread);
        let pixels = pixels.min(self.source[1].saturating_sub(skipped));
        if pixels == 0 {
            return;
        }
        let top = (row * self.stride[0]) as isize - self.offset[0];
        let lines = buffer.chunks_exact_mut(width * LANES).take(self.reach(0, rows));
        for (line, slots) in lines.enumerate() {
            let line = top + line as isize;
            let Some(y) = source(line, self.spread[0], self.source[0]) else { continue };
            let from = &image[(y * self.source[1] + skipped) * self.channels + first..];
            let slots = slots[start * LANES..].chunks_mut(spread * LANES);
            widen(slots, from.chunks(self.channels).take(pixels), lanes);
        }
    }
}

/// Widens so many channels of pixels, at most [`LANES`], each into the beginning of its slots.
#[inline(always)]
pub(super) fn widen<'a, E: Real>(
    slots: impl Iterator<Item = &'a mut [E::Acc]>,
    pixels: impl Iterator<Item = &'a [E]>,
    lanes: usize,
) {
    // In a call of its own, for the compiler to see no more than this loop.
    cpu::vectorized(
        #[inline(always)]
        || {
            for (slots, pixel) in slots.zip(pixels) {
                // The next block's.
                cpu::fetch(pixel.as_ptr().wrapping_add(LANES));
                match (slots.first_chunk_mut::<LANES>(), pixel.first_chunk::<LANES>()) {
                    (Some(slots), Some(&pixel)) if lanes == LANES => {
                        // Of known length, over copies, which cannot be the same memory.
                        let mut wide = [E::Acc::ZERO; LANES];
                        for (slot, x) in wide.iter_mut().zip(pixel) {
                            *slot = x.acc();
                        }
                        *slots = wide;
                    }
                    _ => {
                        for (slot, x) in slots.iter_mut().zip(&pixel[..lanes]) {
                            *slot = x.acc();
                        }
                    }
                }
            }
        },
    );
}

/// The element of a spread map at `position`.
#[inline(always)]
fn source(position: isize, spread: usize, len: usize) -> Option<usize> {
    let position = usize::try_from(position).ok()?;
    if spread == 1 {
        return (position < len).then_some(position);
    }
    (position % spread == 0 && position / spread < len).then_some(position / spread)
}
