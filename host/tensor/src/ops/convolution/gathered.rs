//! Convolutions whose windows are read where they lie in a padded copy of the map: the lines of a window
//! are runs of its row of the left matrix, so that no window is written.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Convolution, Element};
use crate::cpu::{self, Aligned, Gathered, Matrix, Start};

/// Longest line of a window: a panel of the weight that deep stays in the second-level cache.
const LONGEST: usize = 2048;
/// How much larger a padded map may be than its input and output together.
const MOST: usize = 4;

impl Convolution {
    /// windows(x) weight + bias, of [`Self::columns`]; none where lines of windows are no runs, or the
    /// element type has no such product.
    pub(super) fn gathered<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T::Acc]>,
    ) -> Option<Vec<T>> {
        let Self { window, inputs, outputs, .. } = *self;
        let line = window.kernel[1] * inputs;
        let run = line.next_multiple_of(T::RUNS_OF);
        let pixels = self.batch * window.pixels();
        let size = (pixels, window.kernel[0] * run, outputs);
        let fits = self.groups == 1 && window.dilation[1] == 1 && run <= LONGEST;
        let padded = [0, 1].map(|axis| window.input[axis] + 2 * window.padding[axis]);
        let maps = window.input[0] * window.input[1] + window.pixels();
        let is_mostly_padding = padded[0] * padded[1] > MOST * maps;
        if window.is_pointwise() || !fits || is_mostly_padding || !T::gathers(size) {
            return None;
        }
        let map: Cow<'_, [T]> = if run == line && window.padding == [0, 0] {
            Cow::Borrowed(x)
        } else {
            Cow::Owned(self.padded(x, padded, run - line))
        };
        let mut starts = Vec::with_capacity(pixels);
        for image in 0..self.batch {
            for row in 0..window.output[0] {
                let first = (image * padded[0] + row * window.stride[0]) * padded[1];
                starts.extend(
                    (0..window.output[1])
                        .map(|column| (first + column * window.stride[1]) * inputs),
                );
            }
        }
        let rows = Gathered {
            data: &map,
            starts: &starts,
            run,
            apart: window.dilation[0] * padded[1] * inputs,
        };
        // Rows of zeros for what a run holds behind its line.
        let mut columns = Aligned::zeroed(if run == line { 0 } else { size.1 * outputs });
        if run > line {
            let lines = weight.chunks_exact(line * outputs);
            for (columns, weight) in columns.chunks_exact_mut(run * outputs).zip(lines) {
                columns[..weight.len()].copy_from_slice(weight);
            }
        }
        let columns = if run == line { weight } else { &columns };
        let mut output = cpu::unwritten(pixels * outputs);
        let start = bias.map_or(Start::Zero, Start::Bias);
        let threads = rayon::current_num_threads();
        T::gathered(&mut output, rows, Matrix::rows(columns, outputs), size, start, threads);
        Some(output)
    }

    /// The map with its padding, and some zeros behind it.
    fn padded<T: Element>(&self, x: &[T], [height, width]: [usize; 2], behind: usize) -> Vec<T> {
        let Self { window, inputs, batch, .. } = *self;
        let (line, before) = (window.input[1] * inputs, window.padding[1] * inputs);
        let len = batch * height * width * inputs;
        let mut map = cpu::unwritten::<T>(len + behind);
        map[len..].fill(T::default());
        map[..len].par_chunks_mut(width * inputs).enumerate().for_each(|(row, slots)| {
            let (image, row) = (row / height, row % height);
            let inside = row.checked_sub(window.padding[0]).filter(|row| *row < window.input[0]);
            let Some(row) = inside else { return slots.fill(T::default()) };
            let from = &x[(image * window.input[0] + row) * line..][..line];
            slots[..before].fill(T::default());
            slots[before..before + line].copy_from_slice(from);
            slots[before + line..].fill(T::default());
        });
        map
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{error, values};
    use super::*;
    use crate::DType;
    use crate::ops::geometry::{Geometry, Window};

    /// Against windows in f64: lines of even and odd length, with and without padding, several passes.
    #[test]
    fn windows_of_any_geometry_agree_with_those_that_are_written() {
        let plain = Geometry::PLAIN;
        for (size, kernel, [inputs, outputs], geometry) in [
            ([9, 12], [7, 7], [3, 16], Geometry { padding: [3, 3], ..plain }),
            ([9, 8], [3, 3], [8, 24], Geometry { stride: [2, 2], padding: [1, 1], ..plain }),
            ([5, 7], [1, 1], [12, 9], Geometry { stride: [2, 3], ..plain }),
            ([8, 12], [4, 4], [3, 40], Geometry { stride: [4, 4], ..plain }),
            ([8, 9], [3, 1], [9, 8], Geometry { dilation: [2, 1], padding: [0, 2], ..plain }),
            ([6, 6], [5, 3], [100, 8], Geometry { padding: [2, 0], ..plain }),
            // A copy would be mostly padding.
            ([2, 2], [3, 3], [5, 8], Geometry { padding: [20, 20], stride: [9, 9], ..plain }),
        ] {
            let window = Window::new("Conv2d", size, kernel, &geometry).unwrap();
            let convolution = Convolution { batch: 3, window, inputs, outputs, groups: 1 };
            let x = values(&[3, size[0], size[1], inputs], 1);
            let weight = values(&[outputs, inputs, kernel[0], kernel[1]], 2);
            let bias = values(&[outputs], 3);
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::BF16, 1e-2)] {
                let short = |x: &crate::Array| x.to_dtype(dtype).unwrap();
                let exact = |x: &crate::Array| short(x).to_dtype(DType::F64).unwrap();
                let found = convolution.correlate(&short(&x), &short(&weight), Some(&short(&bias)));
                let expected =
                    convolution.correlate(&exact(&x), &exact(&weight), Some(&exact(&bias)));
                let error = error(&found.unwrap(), &expected.unwrap());
                assert!(error < tolerance, "{convolution:?}, {dtype:?}: {error}");
            }
        }
    }

    #[test]
    fn runs_are_padded_to_what_a_product_takes() {
        let geometry = Geometry { padding: [1, 1], ..Geometry::PLAIN };
        let window = Window::new("Conv2d", [4, 4], [3, 3], &geometry).unwrap();
        let convolution = Convolution { batch: 1, window, inputs: 1, outputs: 8, groups: 1 };
        let x: Vec<f32> = (1..=16).map(|x| x as f32).collect();
        let map = convolution.padded(&x, [6, 6], 1);
        assert_eq!(map.len(), 37);
        assert_eq!(map[6..12], [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
        assert_eq!(map[30..], [0.0; 7]);
    }
}
