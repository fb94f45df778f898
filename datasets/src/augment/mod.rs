//! Augmentation: what happens between a decoded image and the numbers a network sees.
//!
//! Operations work on 8-bit images with the results of PIL and torchvision, on which the recipes
//! and the published numbers rest; only the last step, normalisation, makes floats.

mod blur;
mod colour;
mod crop;
mod drawn;
mod evaluation;
mod multi_crop;
mod normalise;
mod probe;
mod recipe;
mod resize;
mod transform;
mod transpose;
mod vectorise;

pub use blur::{BlurWork, gaussian_blur};
pub use colour::{
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, greyscale, solarise,
};
pub use crop::{CropBox, centre_crop, flip_horizontal, random_resized_crop};
pub use drawn::Drawn;
pub use evaluation::EvalTransform;
pub use multi_crop::{Blur, ColorJitter, MultiCrop, Solarize};
pub use normalise::{IMAGENET_MEAN, IMAGENET_STD, Normalisation, normalise};
pub use probe::RandomCropFlip;
pub use recipe::{Colour, Recipe};
pub use resize::{Interpolation, Resizer};
pub use transform::{GroupShape, Pixels, Scratch, Transform, ViewGroup, Views};
