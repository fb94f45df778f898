//! The last step: 8-bit pixels to the floats of a batch.

use crate::Image;

/// Mean of ImageNet's training images, red, green, blue, for pixels in 0..=1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's training images.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Writes `(pixel / 255 - mean) / std` to `out`, channel by channel (CHW), with the rounding of
/// torchvision's `to_tensor` and `normalize`.
///
/// # Panics
/// If `out` does not have three floats for each pixel.
pub fn normalise(image: &Image, mean: [f32; 3], std: [f32; 3], out: &mut [f32]) {
    assert_eq!(out.len(), image.data.len(), "three floats for each pixel");
    if out.is_empty() {
        return;
    }
    // 256 values each: looked up, where dividing would cost two divisions a value.
    let mut tables = [[0.0f32; 256]; 3];
    for (channel, table) in tables.iter_mut().enumerate() {
        for (value, entry) in table.iter_mut().enumerate() {
            *entry = (value as f32 / 255.0 - mean[channel]) / std[channel];
        }
    }
    let plane = image.width * image.height;
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let targets = red.iter_mut().zip(green).zip(blue);
    for (pixel, ((r, g), b)) in image.data.chunks_exact(3).zip(targets) {
        *r = tables[0][usize::from(pixel[0])];
        *g = tables[1][usize::from(pixel[1])];
        *b = tables[2][usize::from(pixel[2])];
    }
}
