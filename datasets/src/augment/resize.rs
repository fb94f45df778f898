//! Resizing, bit for bit as PIL does it: the filter widened by the scale (antialiasing), along the
//! rows first, then along the columns, 22-bit weights, 8 bits in between.
//!
//! Published weights were trained and are measured on images resized this way. The crates at hand
//! resize along the columns first, which moves values at edges by up to 5 of 255.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::CropBox;
use super::transpose::transpose;
use super::vectorise::vectorised;
use crate::Image;

/// The filter of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter.
    Bilinear,
    /// Keys' cubic with a = -0.5, PIL's bicubic.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

impl Interpolation {
    /// Where the filter ends, in pixels of the smaller image.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        if x >= self.support() {
            return 0.0;
        }
        match self {
            Self::Bilinear => 1.0 - x,
            Self::Bicubic => {
                const A: f64 = -0.5;
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                }
            }
            Self::Lanczos => sinc(x) * sinc(x / 3.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// Fraction bits of the weights.
const PRECISION: u32 = 22;

/// The weights of one direction: for each output pixel, `taps` weights from input `first` on.
#[derive(Default)]
pub(super) struct Weights {
    pub(super) taps: usize,
    pub(super) first: Vec<usize>,
    pub(super) values: Vec<i32>,
    scratch: Vec<f64>,
}

impl Weights {
    pub(super) fn prepare(&mut self, input: usize, output: usize, interpolation: Interpolation) {
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = interpolation.support() * filter_scale;
        let inverse = 1.0 / filter_scale;
        self.taps = (support.ceil() as usize * 2 + 1).min(input);
        self.first.clear();
        self.values.clear();
        for position in 0..output {
            let centre = (position as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            self.scratch.clear();
            self.scratch.extend(
                (first..last)
                    .map(|pixel| interpolation.weight((pixel as f64 - centre + 0.5) * inverse)),
            );
            let sum: f64 = self.scratch.iter().sum();
            // All outputs have `taps` weights, which start early where the image ends: loops of
            // one length are fast, zero weights change nothing.
            let start = first.min(input - self.taps);
            self.first.push(start);
            let leading = first - start;
            let row = self.values.len();
            self.values.resize(row + self.taps, 0);
            for (value, weight) in self.values[row + leading..].iter_mut().zip(&self.scratch) {
                let scaled = weight / sum * f64::from(1u32 << PRECISION);
                // Half away from zero, as a cast after adding half.
                *value = (scaled + 0.5f64.copysign(scaled)) as i32;
            }
        }
    }

    fn of(&self, position: usize) -> (usize, &[i32]) {
        let weights = &self.values[position * self.taps..][..self.taps];
        (self.first[position], weights)
    }
}

/// Resizes crops of images. Keeps its working memory between calls.
#[derive(Default)]
pub struct Resizer {
    pub(super) weights: Weights,
    /// The image between two steps, turned or upright.
    buffers: [Vec<u8>; 2],
}

impl Resizer {
    /// A resizer without working memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `crop` of `image` at `out`'s size. The filter sees nothing outside the crop, as when one
    /// crops first and resizes then.
    ///
    /// # Panics
    /// If the crop is empty or reaches beyond the image, or `out` is empty.
    pub fn resize(
        &mut self,
        image: &Image,
        crop: CropBox,
        interpolation: Interpolation,
        out: &mut Image,
    ) {
        assert!(
            crop.left + crop.width <= image.width && crop.top + crop.height <= image.height,
            "{crop:?} in an image of {}x{}",
            image.width,
            image.height
        );
        assert!(crop.width * crop.height * out.width * out.height > 0, "an empty resize");
        let Self { weights, buffers: [turned, upright] } = self;
        let stride = image.width * 3;
        let source = &image.data[crop.top * stride + crop.left * 3..];
        upright.resize(crop.height * out.width * 3, 0);
        if crop.width == out.width {
            for (to, from) in upright.chunks_exact_mut(out.width * 3).zip(source.chunks(stride)) {
                to.copy_from_slice(&from[..out.width * 3]);
            }
        } else {
            // Along the rows means along the columns of the turned image, where neighbours in
            // memory share each weight and vector instructions fit.
            let before = crop.width * crop.height * 3;
            let after = out.width * crop.height * 3;
            turned.resize(before + after, 0);
            let (before, after) = turned.split_at_mut(before);
            transpose(source, stride, crop.width, crop.height, before);
            weights.prepare(crop.width, out.width, interpolation);
            along_columns(before, crop.height * 3, weights, after);
            transpose(after, crop.height * 3, crop.height, out.width, upright);
        }
        if crop.height == out.height {
            out.data.copy_from_slice(upright);
        } else {
            weights.prepare(crop.height, out.height, interpolation);
            along_columns(upright, out.width * 3, weights, &mut out.data);
        }
    }
}

/// Each row of `to` as a weighted sum of the rows of `from`; all rows are `row` bytes.
fn along_columns(from: &[u8], row: usize, weights: &Weights, to: &mut [u8]) {
    vectorised(
        #[inline(always)]
        || {
            for (position, out) in to.chunks_exact_mut(row).enumerate() {
                let (first, values) = weights.of(position);
                weighted_sum(&from[first * row..], row, values, out);
            }
        },
    );
}

#[inline(always)]
fn weighted_sum(rows: &[u8], row: usize, weights: &[i32], out: &mut [u8]) {
    /// Sums that stay in registers.
    const LANES: usize = 64;
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let start_of_rest = blocks.len() * LANES;
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [1i32 << (PRECISION - 1); LANES];
        for (tap, weight) in weights.iter().enumerate() {
            let values = &rows[tap * row + block * LANES..][..LANES];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum >> PRECISION).clamp(0, 255) as u8;
        }
    }
    if rest.is_empty() {
        return;
    }
    let mut sums = [1i32 << (PRECISION - 1); LANES];
    for (tap, weight) in weights.iter().enumerate() {
        let values = &rows[tap * row + start_of_rest..][..rest.len()];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += i32::from(*value) * weight;
        }
    }
    for (out, sum) in rest.iter_mut().zip(sums) {
        *out = (sum >> PRECISION).clamp(0, 255) as u8;
    }
}
