//! The light augmentation of linear probes: a random crop, perhaps mirrored (spec 4.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crop::{flip_horizontal, random_resized_crop};
use super::normalise::{IMAGENET_MEAN, IMAGENET_STD, Normalisation};
use super::resize::Interpolation;
use super::transform::{GroupShape, Scratch, Transform, Views};
use crate::random::{Key, Stream};
use crate::{Image, Result};

/// `RandomResizedCrop` and `RandomHorizontalFlip` with torchvision's defaults; one view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCropFlip {
    /// Side of the crop, in pixels.
    pub size: usize,
    /// Share of the image's area that the crop covers: smallest and largest.
    pub scale: [f32; 2],
    /// Probability of mirroring.
    pub flip: f32,
    /// Mean of red, green, blue in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue.
    pub std: [f32; 3],
    /// Filter of the resize.
    pub interpolation: Interpolation,
}

impl Default for RandomCropFlip {
    fn default() -> Self {
        Self {
            size: 224,
            scale: [0.08, 1.0],
            flip: 0.5,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            interpolation: Interpolation::Bilinear,
        }
    }
}

impl Transform for RandomCropFlip {
    fn groups(&self, _width: usize, _height: usize) -> Vec<GroupShape> {
        vec![GroupShape { views: 1, height: self.size, width: self.size }]
    }

    fn apply(
        &self,
        image: &Image,
        key: Key,
        scratch: &mut Scratch,
        views: &mut Views<'_>,
    ) -> Result<()> {
        let mut random = Stream::new(key, 0);
        let crop = random_resized_crop(image.width, image.height, self.scale, &mut random);
        scratch.resized(self.size, self.size);
        scratch.resizer.resize(image, crop, self.interpolation, &mut scratch.view);
        if random.chance(self.flip) {
            flip_horizontal(&mut scratch.view);
        }
        let how = Normalisation { mean: self.mean, std: self.std };
        views.write(0, 0, &scratch.view, how);
        Ok(())
    }
}
