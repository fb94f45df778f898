//! The transform of evaluation: resize, centre crop, normalise (spec 4.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::{CropBox, centre_crop};
use super::normalise::{IMAGENET_MEAN, IMAGENET_STD, Normalisation};
use super::resize::Interpolation;
use super::transform::{GroupShape, Scratch, Transform, Views};
use crate::random::Key;
use crate::{Image, Result};

/// Resizes the short side, cuts out the centre and normalises; one view, nothing random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalTransform {
    /// Length of the short side after the resize, in pixels; 0 keeps the image's size.
    pub resize: usize,
    /// Side of the central square; 0 keeps the whole image.
    pub crop: usize,
    /// Mean of red, green, blue in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue.
    pub std: [f32; 3],
    /// Filter of the resize.
    pub interpolation: Interpolation,
}

impl Default for EvalTransform {
    /// 256, 224, bicubic, ImageNet's statistics.
    fn default() -> Self {
        Self {
            resize: 256,
            crop: 224,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            interpolation: Interpolation::Bicubic,
        }
    }
}

impl EvalTransform {
    /// Width and height after the resize. As torchvision's `Resize(n)`: the long side is rounded
    /// down.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        match self.resize {
            0 => (width, height),
            short if width <= height => (short, short * height / width),
            short => (short * width / height, short),
        }
    }
}

impl Transform for EvalTransform {
    fn groups(&self, width: usize, height: usize) -> Vec<GroupShape> {
        let (width, height) = match self.crop {
            0 => self.resized(width, height),
            crop => (crop, crop),
        };
        vec![GroupShape { views: 1, height, width }]
    }

    fn apply(
        &self,
        image: &Image,
        _key: Key,
        scratch: &mut Scratch,
        views: &mut Views<'_>,
    ) -> Result<()> {
        let (width, height) = self.resized(image.width, image.height);
        scratch.resized(width, height);
        let whole = CropBox::whole(image.width, image.height);
        scratch.resizer.resize(image, whole, self.interpolation, &mut scratch.view);
        if self.crop > 0 && (width, height) != (self.crop, self.crop) {
            scratch.view = cropped(&scratch.view, self.crop);
        }
        let how = Normalisation { mean: self.mean, std: self.std };
        views.write(0, 0, &scratch.view, how);
        Ok(())
    }
}

/// The central square; an image that is smaller than it gets black margins, as torchvision pads.
fn cropped(image: &Image, size: usize) -> Image {
    let pad = |side: usize| size.saturating_sub(side) / 2;
    let (left, top) = (pad(image.width), pad(image.height));
    let (width, height) = (image.width.max(size), image.height.max(size));
    let crop = centre_crop(width, height, size);
    let mut out = Image::new(size, size);
    for (y, row) in out.data.chunks_exact_mut(size * 3).enumerate() {
        let Some(source) = (crop.top + y).checked_sub(top).filter(|y| *y < image.height) else {
            continue;
        };
        // Columns of the crop that the image covers.
        let first = left.saturating_sub(crop.left);
        let last = (left + image.width).saturating_sub(crop.left).min(size);
        let from = (source * image.width + crop.left + first - left) * 3;
        let pixels = (last - first) * 3;
        row[first * 3..last * 3].copy_from_slice(&image.data[from..from + pixels]);
    }
    out
}
