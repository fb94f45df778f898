//! A transform: one decoded image in, its views out, in the batch they belong to.

use super::blur::BlurWork;
use super::drawn::Drawn;
use super::normalise::{Normalisation, normalise, planes};
use super::recipe::Recipe;
use super::resize::Resizer;
use crate::random::Key;
use crate::{Image, Result};

/// Shape of one group of views that share a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Views of each image.
    pub views: usize,
    /// Rows of a view.
    pub height: usize,
    /// Columns of a view.
    pub width: usize,
}

impl GroupShape {
    /// Numbers of the views of one image.
    fn len(&self) -> usize {
        self.views * 3 * self.height * self.width
    }
}

/// The pixels of a group of views.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// Normalised.
    Floats(Vec<f32>),
    /// As they are, for a device that normalises them: a quarter of the memory to send there.
    Bytes {
        /// The pixels.
        values: Vec<u8>,
        /// What is to be done to them.
        normalisation: Normalisation,
    },
    /// Not made yet: a device makes them of the batch's images.
    Drawn(Drawn),
}

/// Views of one size of all images of a batch: `pixels` is `[views, batch, 3, height, width]`, so
/// the views of crop 0 of all images come first.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewGroup {
    /// Views of each image.
    pub views: usize,
    /// Images.
    pub batch: usize,
    /// Rows of a view.
    pub height: usize,
    /// Columns of a view.
    pub width: usize,
    /// Their content.
    pub pixels: Pixels,
}

impl ViewGroup {
    /// A group of zeros.
    pub fn zeros(shape: GroupShape, batch: usize) -> Self {
        let pixels = Pixels::Floats(vec![0.0; shape.len() * batch]);
        Self::of(shape, batch, pixels)
    }

    /// A group of black pixels that stay bytes.
    pub fn black(shape: GroupShape, batch: usize) -> Self {
        let values = vec![0; shape.len() * batch];
        let normalisation = Normalisation::default();
        Self::of(shape, batch, Pixels::Bytes { values, normalisation })
    }

    /// A group of views that are drawn only.
    pub fn undrawn(shape: GroupShape, batch: usize) -> Self {
        Self::of(shape, batch, Pixels::Drawn(Drawn::of(shape.views * batch)))
    }

    fn of(shape: GroupShape, batch: usize, pixels: Pixels) -> Self {
        let GroupShape { views, height, width } = shape;
        Self { views, batch, height, width, pixels }
    }

    /// The normalised pixels.
    ///
    /// # Panics
    /// They are not normalised here.
    pub fn floats(&self) -> &[f32] {
        match &self.pixels {
            Pixels::Floats(values) => values,
            _ => panic!("these pixels are not normalised"),
        }
    }

    /// Colour channels of a view: 3.
    pub const CHANNELS: usize = 3;

    /// View `view` of image `image`, normalised, `[3, height, width]`.
    ///
    /// # Panics
    /// The pixels are not normalised here.
    pub fn view(&self, view: usize, image: usize) -> &[f32] {
        let size = 3 * self.height * self.width;
        &self.floats()[(view * self.batch + image) * size..][..size]
    }
}

/// The places in a batch that the views of one image go to.
pub struct Views<'a> {
    groups: &'a mut [ViewGroup],
    image: usize,
    start: usize,
}

impl<'a> Views<'a> {
    /// The places of image number `image` of the batch.
    pub fn new(groups: &'a mut [ViewGroup], image: usize) -> Self {
        Self { groups, image, start: 0 }
    }

    /// The same, of an image whose pixels begin at this byte of the batch's.
    pub fn starting(self, start: usize) -> Self {
        Self { start, ..self }
    }

    /// Makes view `view` of group `group`, or keeps the recipe for a device that does.
    ///
    /// # Panics
    /// The recipe has another size than the group's views.
    pub fn make(
        &mut self,
        group: usize,
        view: usize,
        image: &Image,
        recipe: &Recipe,
        scratch: &mut Scratch,
        how: Normalisation,
    ) {
        let ViewGroup { batch, height, width, pixels, .. } = &mut self.groups[group];
        if let Pixels::Drawn(drawn) = pixels {
            assert_eq!([*height, *width], [recipe.size; 2], "a view of the group's size");
            drawn.normalisation = how;
            let place = view * *batch + self.image;
            return drawn.add(place, image, self.start, recipe, &mut scratch.resizer.weights);
        }
        recipe.make(image, scratch);
        self.write(group, view, &scratch.view, how);
    }

    /// Writes view `view` of group `group`.
    ///
    /// # Panics
    /// The image has another size than the group's views, or these are drawn only.
    pub fn write(&mut self, group: usize, view: usize, image: &Image, how: Normalisation) {
        let group = &mut self.groups[group];
        let size = 3 * group.height * group.width;
        let place = (view * group.batch + self.image) * size..;
        match &mut group.pixels {
            Pixels::Floats(values) => normalise(image, how, &mut values[place][..size]),
            Pixels::Bytes { values, normalisation } => {
                *normalisation = how;
                planes(image, &mut values[place][..size]);
            }
            Pixels::Drawn(_) => panic!("this transform makes its views itself"),
        }
    }
}

/// A loading thread's working memory, so that no view allocates.
#[derive(Default)]
pub struct Scratch {
    pub(crate) resizer: Resizer,
    pub(crate) view: Image,
    pub(crate) blur: BlurWork,
}

impl Scratch {
    /// Empty working memory; it grows to what the transform needs.
    pub fn new() -> Self {
        Self::default()
    }

    /// The working image at this size; its content is undefined.
    pub(crate) fn resized(&mut self, width: usize, height: usize) -> &mut Image {
        self.view.width = width;
        self.view.height = height;
        self.view.data.resize(width * height * 3, 0);
        &mut self.view
    }
}

/// What is done to each image. Implementations hold settings only: all randomness comes from the
/// key, so that an epoch does not depend on who loads what.
pub trait Transform: Send + Sync {
    /// The groups of views made of an image of this size. Transforms with a fixed output size
    /// give the same for all.
    fn groups(&self, width: usize, height: usize) -> Vec<GroupShape>;

    /// Writes the views of `image`.
    ///
    /// # Errors
    /// If the transform cannot be applied to an image of this size.
    fn apply(
        &self,
        image: &Image,
        key: Key,
        scratch: &mut Scratch,
        views: &mut Views<'_>,
    ) -> Result<()>;
}
