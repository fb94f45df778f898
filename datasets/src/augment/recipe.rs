//! What is drawn for a view, before anything is done to an image.

use super::blur::gaussian_blur;
use super::colour::{
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, greyscale, solarise,
};
use super::crop::{CropBox, flip_horizontal};
use super::resize::Interpolation;
use super::transform::Scratch;
use crate::Image;

/// A change of a view's colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// [`adjust_brightness`] by this factor.
    Brightness(f32),
    /// [`adjust_contrast`] by this factor.
    Contrast(f32),
    /// [`adjust_saturation`] by this factor.
    Saturation(f32),
    /// [`adjust_hue`] by this share of a turn.
    Hue(f32),
    /// [`greyscale`].
    Grey,
}

/// Most changes of a view's colours.
pub(super) const COLOURS: usize = 5;

/// Pixels from this value on are inverted by a recipe that solarises.
pub(super) const SOLARISE_THRESHOLD: u8 = 128;

/// How a square view is made of an image: one step after the other, in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The part of the image.
    pub crop: CropBox,
    /// Sides of the view, in pixels.
    pub size: usize,
    /// How the part gets that size.
    pub interpolation: Interpolation,
    /// Whether it is mirrored.
    pub flip: bool,
    /// What happens to its colours, in this order.
    pub colours: [Option<Colour>; COLOURS],
    /// Standard deviation of the blur, in pixels of the view.
    pub blur: Option<f32>,
    /// Whether bright pixels are inverted.
    pub solarise: bool,
}

impl Recipe {
    /// Leaves the view of `image` in `scratch.view`.
    pub(super) fn make(&self, image: &Image, scratch: &mut Scratch) {
        scratch.resized(self.size, self.size);
        let Scratch { resizer, view, blur } = scratch;
        resizer.resize(image, self.crop, self.interpolation, view);
        if self.flip {
            flip_horizontal(view);
        }
        for colour in self.colours.into_iter().flatten() {
            match colour {
                Colour::Brightness(factor) => adjust_brightness(view, factor),
                Colour::Contrast(factor) => adjust_contrast(view, factor),
                Colour::Saturation(factor) => adjust_saturation(view, factor),
                Colour::Hue(shift) => adjust_hue(view, shift),
                Colour::Grey => greyscale(view),
            }
        }
        if let Some(sigma) = self.blur {
            gaussian_blur(view, sigma, blur);
        }
        if self.solarise {
            solarise(view, SOLARISE_THRESHOLD);
        }
    }
}
