//! An image with what is known about it.

/// An 8-bit RGB image, row by row, channels last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes, red first.
    pub data: Vec<u8>,
}

impl Image {
    /// A black image.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![0; width * height * 3] }
    }

    /// An image from its pixels.
    ///
    /// # Panics
    /// If `data` is not `width * height * 3` bytes long.
    pub fn from_data(width: usize, height: usize, data: Vec<u8>) -> Self {
        assert_eq!(data.len(), width * height * 3, "an RGB image of {width} x {height}");
        Self { width, height, data }
    }

    /// The pixel in column `x` of row `y`.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.data[at], self.data[at + 1], self.data[at + 2]]
    }
}

/// A class for each pixel, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width` class indices, see [`crate::Dataset::mask_classes`].
    pub data: Vec<u8>,
}

/// An object in an image. Units: pixels, origin at the image's upper left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectBox {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
    /// Index into [`crate::Dataset::classes`].
    pub class: usize,
    /// Object area in square pixels (COCO's `area`, which decides small, medium, large).
    pub area: f32,
    /// A box round a group that detection metrics ignore (COCO's `iscrowd`).
    pub crowd: bool,
    /// Its outline, where the set has one.
    pub outline: Option<Outline>,
}

/// Which pixels belong to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// Polygons, each `x0, y0, x1, y1, ...` in pixels.
    Polygons(Vec<Vec<f32>>),
    /// COCO's uncompressed run lengths over the image **column by column**, background first.
    RunLengths(Vec<u32>),
}

/// One image of a set with its ground truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The image.
    pub image: Image,
    /// Its class, an index into [`crate::Dataset::classes`].
    pub label: Option<i64>,
    /// Classes of its pixels, for sets that have them.
    pub mask: Option<Mask>,
    /// Its objects, for sets that have them.
    pub boxes: Vec<ObjectBox>,
}

impl Sample {
    /// A sample with nothing but an image and perhaps its class.
    pub fn labelled(image: Image, label: Option<i64>) -> Self {
        Self { image, label, mask: None, boxes: Vec::new() }
    }
}
