//! Where to crop, and mirroring.

use crate::Image;
use crate::random::Stream;

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl CropBox {
    /// All of an image.
    pub fn whole(width: usize, height: usize) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// torchvision's `RandomResizedCrop.get_params`: an area of `scale` times the image's, an aspect
/// log-uniform between 3/4 and 4/3, ten tries, then the largest central crop of an allowed aspect.
pub fn random_resized_crop(
    width: usize,
    height: usize,
    scale: [f32; 2],
    random: &mut Stream,
) -> CropBox {
    const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
    let area = (width * height) as f64;
    for _ in 0..10 {
        let target = area * f64::from(random.uniform(scale[0], scale[1]));
        let log_aspect = random.uniform(RATIO[0].ln() as f32, RATIO[1].ln() as f32);
        let aspect = f64::from(log_aspect).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if 0 < w && w <= width && 0 < h && h <= height {
            let top = random.below(height - h + 1);
            let left = random.below(width - w + 1);
            return CropBox { left, top, width: w, height: h };
        }
    }
    let aspect = width as f64 / height as f64;
    let (w, h) = if aspect < RATIO[0] {
        (width, (width as f64 / RATIO[0]).round_ties_even() as usize)
    } else if aspect > RATIO[1] {
        ((height as f64 * RATIO[1]).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    CropBox { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
}

/// torchvision's `center_crop` on an image at least as large as the crop: offsets are rounded, half
/// to even.
pub fn centre_crop(width: usize, height: usize, size: usize) -> CropBox {
    let offset = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
    CropBox { left: offset(width), top: offset(height), width: size, height: size }
}

/// Mirrors left and right.
pub fn flip_horizontal(image: &mut Image) {
    for row in image.data.chunks_exact_mut(image.width.max(1) * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}
