//! Resizing as PIL does it: the filter widened by the scale (antialiasing), columns first, rows
//! after, 8 bits in between.

use fast_image_resize as fir;
use fir::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::CropBox;
use crate::Image;

/// The filter of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Triangle filter.
    Bilinear,
    /// Keys' cubic with a = -0.5, PIL's bicubic.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// Resizes crops of images. Keeps its working memory between calls.
pub struct Resizer(fir::Resizer);

impl Default for Resizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Resizer {
    /// A resizer without working memory yet.
    pub fn new() -> Self {
        Self(fir::Resizer::new())
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
        if (crop.width, crop.height) == (out.width, out.height) {
            copy_crop(image, crop, out);
            return;
        }
        let algorithm = match interpolation {
            Interpolation::Nearest => fir::ResizeAlg::Nearest,
            Interpolation::Bilinear => fir::ResizeAlg::Convolution(fir::FilterType::Bilinear),
            Interpolation::Bicubic => fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom),
            Interpolation::Lanczos => fir::ResizeAlg::Convolution(fir::FilterType::Lanczos3),
        };
        let options = fir::ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        let (width, height) = (image.width as u32, image.height as u32);
        let source = TypedImageRef::<U8x3>::from_buffer(width, height, &image.data)
            .expect("an image has width * height * 3 bytes");
        let [left, top, crop_width, crop_height] =
            [crop.left, crop.top, crop.width, crop.height].map(|side| side as u32);
        let source = TypedCroppedImage::new(source, left, top, crop_width, crop_height)
            .expect("the crop lies in the image");
        let (width, height) = (out.width as u32, out.height as u32);
        let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut out.data)
            .expect("an image has width * height * 3 bytes");
        self.0.resize_typed(&source, &mut target, &options).expect("sides above zero");
    }
}

fn copy_crop(image: &Image, crop: CropBox, out: &mut Image) {
    for (y, row) in out.data.chunks_exact_mut(crop.width * 3).enumerate() {
        let start = ((crop.top + y) * image.width + crop.left) * 3;
        row.copy_from_slice(&image.data[start..start + row.len()]);
    }
}
