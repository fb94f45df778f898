//! Gaussian blur as PIL's `ImageFilter.GaussianBlur` does it: three box blurs of fractional radius
//! in each direction, rounded to 8 bits after each (Gwosdek et al., "Theoretical foundations of
//! Gaussian convolution by extended box filtering", 2011).

use super::transpose::transpose;
use super::vectorise::vectorised;
use crate::Image;

const PASSES: usize = 3;

/// Blurs `image` with standard deviation `sigma` in pixels. `work` is working memory.
pub fn gaussian_blur(image: &mut Image, sigma: f32, work: &mut BlurWork) {
    let Some(weights) = BoxWeights::of_gauss(sigma).filter(|_| !image.data.is_empty()) else {
        return;
    };
    // Both directions run down the columns, where neighbours in memory share each step, so the
    // compiler vectorises it. The first turns the image, the second turns it back.
    for (width, height) in [(image.width, image.height), (image.height, image.width)] {
        work.turned.resize(image.data.len(), 0);
        transpose(&image.data, width * 3, width, height, &mut work.turned);
        std::mem::swap(&mut image.data, &mut work.turned);
        let row = height * 3;
        for _ in 0..PASSES {
            let BlurWork { turned, sums } = work;
            vectorised(
                #[inline(always)]
                || box_blur(weights, row, &image.data, sums, turned),
            );
            std::mem::swap(&mut image.data, &mut work.turned);
        }
    }
}

/// Working memory of [`gaussian_blur`].
#[derive(Default)]
pub struct BlurWork {
    turned: Vec<u8>,
    sums: Vec<u32>,
}

/// Radius of the box whose `PASSES`-fold application has variance sigma^2, equations 12 to 14 of
/// the paper: a whole part `l` and a share `a` of the next pixel on each side.
fn box_radius(sigma: f32) -> f32 {
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((length - 1.0) / 2.0).floor();
    let share = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    whole + share
}

/// A box's weights in units of 2^-24: full ones within `radius`, partial ones on both next pixels.
#[derive(Clone, Copy)]
pub(super) struct BoxWeights {
    pub(super) radius: usize,
    pub(super) full: u32,
    pub(super) partial: u32,
}

impl BoxWeights {
    /// Of the boxes that make up a Gaussian; none where it is too narrow to blur.
    pub(super) fn of_gauss(sigma: f32) -> Option<Self> {
        let radius = box_radius(sigma);
        if radius <= 0.0 {
            return None;
        }
        let whole = radius as usize;
        let full = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let partial = ((1u32 << 24) - (whole as u32 * 2 + 1) * full) / 2;
        Some(Self { radius: whole, full, partial })
    }
}

/// One box blur down the columns of an image whose rows are `row` bytes; edges repeat.
#[inline(always)]
fn box_blur(
    weights: BoxWeights,
    row: usize,
    source: &[u8],
    sums: &mut Vec<u32>,
    target: &mut [u8],
) {
    let BoxWeights { radius, full, partial } = weights;
    let rows = source.len() / row;
    let line = |y: isize| {
        let y = y.clamp(0, rows as isize - 1) as usize;
        &source[y * row..(y + 1) * row]
    };
    let reach = radius as isize;
    sums.clear();
    sums.resize(row, 0);
    let sums = sums.as_mut_slice();
    for y in -reach..=reach {
        for (sum, value) in sums.iter_mut().zip(line(y)) {
            *sum += u32::from(*value);
        }
    }
    for (y, out) in target.chunks_exact_mut(row).enumerate() {
        let y = y as isize;
        let (above, below) = (line(y - reach - 1), line(y + reach + 1));
        let leaving = line(y - reach);
        let values = sums.iter_mut().zip(out).zip(above).zip(below).zip(leaving);
        for ((((sum, out), above), below), leaving) in values {
            let outer = u32::from(*above) + u32::from(*below);
            *out = ((*sum * full + outer * partial + (1 << 23)) >> 24) as u8;
            *sum = *sum + u32::from(*below) - u32::from(*leaving);
        }
    }
}
