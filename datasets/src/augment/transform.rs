//! A transform: one decoded image in, its views out, as floats in the batch they belong to.

use super::blur::BlurWork;
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

/// Views of one size of all images of a batch: `data` is `[views, batch, 3, height, width]`, so
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
    /// The normalised pixels.
    pub data: Vec<f32>,
}

impl ViewGroup {
    /// A group of zeros.
    pub fn zeros(shape: GroupShape, batch: usize) -> Self {
        let GroupShape { views, height, width } = shape;
        let data = vec![0.0; views * batch * 3 * height * width];
        Self { views, batch, height, width, data }
    }

    /// Colour channels of a view: 3.
    pub const CHANNELS: usize = 3;

    /// View `view` of image `image`, `[3, height, width]`.
    pub fn view(&self, view: usize, image: usize) -> &[f32] {
        let size = 3 * self.height * self.width;
        &self.data[(view * self.batch + image) * size..][..size]
    }
}

/// The places in a batch that the views of one image go to.
pub struct Views<'a> {
    groups: &'a mut [ViewGroup],
    image: usize,
}

impl<'a> Views<'a> {
    /// The places of image number `image` of the batch.
    pub fn new(groups: &'a mut [ViewGroup], image: usize) -> Self {
        Self { groups, image }
    }

    /// View `view` of group `group`, `[3, height, width]`, to be written.
    pub fn view(&mut self, group: usize, view: usize) -> &mut [f32] {
        let group = &mut self.groups[group];
        let size = 3 * group.height * group.width;
        &mut group.data[(view * group.batch + self.image) * size..][..size]
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
