//! Views that are drawn but not made: what a GPU that makes them is sent, beside the images.

use super::blur::BoxWeights;
use super::normalise::Normalisation;
use super::recipe::{Colour, Recipe};
use super::resize::Weights;
use crate::Image;

/// Recipes of a batch's views as 32-bit words. `host/tensor/src/cuda/augment.cu` reads them, and makes the
/// bytes that [`Recipe`] makes here.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// [`Drawn::WORDS`] of each view, `[views, batch]`.
    pub words: Vec<u32>,
    /// Of all resizes: for each pixel of a view along one axis the first pixel of the crop that it is made
    /// of, and then for each of them the weights of as many as there are taps (i32).
    pub weights: Vec<u32>,
    /// Bytes of the crops resized along their rows, one behind another.
    pub between: u64,
    /// Rows of the tallest crop.
    pub tallest: usize,
    /// What is to be done to the views' pixels.
    pub normalisation: Normalisation,
}

impl Drawn {
    /// Words of a view: where its crop begins in the batch's images (two words, in bytes) and its resized
    /// rows among all (two words), bytes of a row of the image, width and height of the crop, place and
    /// taps of the weights along the rows and along the columns (no taps: nothing to resize), whether it is
    /// mirrored, five kinds of colour change (0: none) and their factors, the blur's radius plus 1 (0:
    /// none), full and partial weight, and the value from which pixels are inverted.
    pub const WORDS: usize = 26;

    /// Of so many views, none of which is drawn yet.
    pub(super) fn of(views: usize) -> Self {
        Self {
            words: vec![0; views * Self::WORDS],
            weights: Vec::new(),
            between: 0,
            tallest: 0,
            normalisation: Normalisation::default(),
        }
    }

    /// Takes up view number `view`, of an image whose pixels begin at byte `start` of the batch's.
    pub(super) fn add(
        &mut self,
        view: usize,
        image: &Image,
        start: usize,
        recipe: &Recipe,
        weights: &mut Weights,
    ) {
        let Recipe { crop, size, interpolation, .. } = *recipe;
        let first = start + (crop.top * image.width + crop.left) * 3;
        let mut axis = |input: usize| {
            if input == size {
                return [0, 0];
            }
            weights.prepare(input, size, interpolation);
            let place = word(self.weights.len());
            self.weights.extend(weights.first.iter().map(|first| word(*first)));
            self.weights.extend(weights.values.iter().map(|value| value.cast_unsigned()));
            [place, word(weights.taps)]
        };
        let (along_rows, along_columns) = (axis(crop.width), axis(crop.height));
        let blur = recipe.blur.and_then(BoxWeights::of_gauss);
        let mut words = [0; Self::WORDS];
        words[..2].copy_from_slice(&words_of(first as u64));
        words[2..4].copy_from_slice(&words_of(self.between));
        words[4..7].copy_from_slice(&[image.width * 3, crop.width, crop.height].map(word));
        words[7..9].copy_from_slice(&along_rows);
        words[9..11].copy_from_slice(&along_columns);
        words[11] = recipe.flip.into();
        for (index, colour) in recipe.colours.iter().enumerate() {
            (words[12 + index], words[17 + index]) = match colour {
                None => (0, 0),
                Some(Colour::Brightness(factor)) => (1, factor.to_bits()),
                Some(Colour::Contrast(factor)) => (2, factor.to_bits()),
                Some(Colour::Saturation(factor)) => (3, factor.to_bits()),
                Some(Colour::Hue(shift)) => (4, super::colour::hue_steps(*shift).cast_unsigned()),
                Some(Colour::Grey) => (5, 0),
            };
        }
        if let Some(BoxWeights { radius, full, partial }) = blur {
            words[22..25].copy_from_slice(&[word(radius + 1), full, partial]);
        }
        let threshold = super::recipe::SOLARISE_THRESHOLD;
        words[25] = if recipe.solarise { threshold.into() } else { 256 };
        self.words[view * Self::WORDS..][..Self::WORDS].copy_from_slice(&words);
        self.between += (crop.height * size * 3) as u64;
        self.tallest = self.tallest.max(crop.height);
    }
}

/// The lower and the upper half.
fn words_of(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn word(number: usize) -> u32 {
    u32::try_from(number).expect("an image's sides, and a batch's weights, are below 2^32")
}
