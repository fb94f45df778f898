//! Resizing, bit for bit as PIL does it: the filter widened by the scale (antialiasing), along the
//! rows first, then along the columns, 22-bit weights, 8 bits in between.
//!
//! Published weights were trained and are measured on images resized this way. The crates at hand
//! resize along the columns first, which moves values at edges by up to 5 of 255.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::CropBox;
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
struct Weights {
    taps: usize,
    first: Vec<usize>,
    values: Vec<i32>,
    scratch: Vec<f64>,
}

impl Weights {
    fn prepare(&mut self, input: usize, output: usize, interpolation: Interpolation) {
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

#[inline(always)]
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

/// Resizes crops of images. Keeps its working memory between calls.
#[derive(Default)]
pub struct Resizer {
    weights: Weights,
    /// The crop, resized along its rows.
    rows: Vec<u8>,
    sums: Vec<i32>,
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
        let Self { weights, rows, sums } = self;
        let source = (0..crop.height).map(|y| {
            let start = ((crop.top + y) * image.width + crop.left) * 3;
            &image.data[start..start + crop.width * 3]
        });
        let vertical = crop.height != out.height;
        let target = if vertical { &mut *rows } else { &mut out.data };
        target.resize(crop.height * out.width * 3, 0);
        let lines = source.zip(target.chunks_exact_mut(out.width * 3));
        if crop.width == out.width {
            lines.for_each(|(from, to)| to.copy_from_slice(from));
        } else {
            weights.prepare(crop.width, out.width, interpolation);
            vectorised(
                #[inline(always)]
                || lines.for_each(|(from, to)| along_row(from, weights, to)),
            );
        }
        if vertical {
            weights.prepare(crop.height, out.height, interpolation);
            sums.resize(out.width * 3, 0);
            let lines = out.data.chunks_exact_mut(out.width * 3).enumerate();
            vectorised(
                #[inline(always)]
                || lines.for_each(|(y, to)| along_columns(rows, weights.of(y), sums, to)),
            );
        }
    }
}

/// One row at its new width.
#[inline(always)]
fn along_row(from: &[u8], weights: &Weights, to: &mut [u8]) {
    for (position, out) in to.chunks_exact_mut(3).enumerate() {
        let (first, values) = weights.of(position);
        let mut sums = [0i32; 3];
        let pixels = from[first * 3..][..values.len() * 3].chunks_exact(3);
        for (pixel, weight) in pixels.zip(values) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = rounded(sum);
        }
    }
}

/// One row at the new height: a weighted sum of rows, whose values share each weight.
#[inline(always)]
fn along_columns(rows: &[u8], (first, values): (usize, &[i32]), sums: &mut [i32], to: &mut [u8]) {
    let width = to.len();
    sums.fill(0);
    for (row, weight) in rows[first * width..].chunks_exact(width).zip(values) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += i32::from(*value) * weight;
        }
    }
    for (out, sum) in to.iter_mut().zip(sums) {
        *out = rounded(*sum);
    }
}
