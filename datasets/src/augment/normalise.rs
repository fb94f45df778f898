//! The last step: 8-bit pixels to the floats of a batch.

use crate::Image;

/// Mean of ImageNet's training images, red, green, blue, for pixels in 0..=1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How pixels become floats: `(pixel / 255 - mean) / std`, with the rounding of torchvision's
/// `to_tensor` and `normalize`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of red, green, blue in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue.
    pub std: [f32; 3],
}

impl Default for Normalisation {
    /// ImageNet's statistics.
    fn default() -> Self {
        Self { mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }
}

impl Normalisation {
    /// What each byte becomes, for red, green and blue.
    pub fn tables(&self) -> [[f32; 256]; 3] {
        let mut tables = [[0.0f32; 256]; 3];
        for (channel, table) in tables.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                *entry = (value as f32 / 255.0 - self.mean[channel]) / self.std[channel];
            }
        }
        tables
    }
}

/// Writes the normalised pixels to `out`, channel by channel (CHW).
///
/// # Panics
/// If `out` does not have three floats for each pixel.
pub fn normalise(image: &Image, how: Normalisation, out: &mut [f32]) {
    if out.is_empty() && image.data.is_empty() {
        return;
    }
    // Looked up, where dividing would cost two divisions a value.
    let tables = how.tables();
    apart(image, out, |channel, value| tables[channel][usize::from(value)]);
}

/// Writes the pixels to `out`, channel by channel (CHW).
///
/// # Panics
/// If `out` does not have three bytes for each pixel.
pub fn planes(image: &Image, out: &mut [u8]) {
    apart(image, out, |_, value| value);
}

#[inline(always)]
fn apart<T>(image: &Image, out: &mut [T], of: impl Fn(usize, u8) -> T) {
    assert_eq!(out.len(), image.data.len(), "three numbers for each pixel");
    let plane = image.width * image.height;
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let targets = red.iter_mut().zip(green).zip(blue);
    for (pixel, ((r, g), b)) in image.data.chunks_exact(3).zip(targets) {
        *r = of(0, pixel[0]);
        *g = of(1, pixel[1]);
        *b = of(2, pixel[2]);
    }
}
