//! What every set of images offers.

use sha2::{Digest, Sha256};

use crate::{Result, Sample};

/// A finite, ordered set of images that any thread may read.
pub trait Dataset: Send + Sync {
    /// Images in the set.
    fn len(&self) -> usize;

    /// True for a set without images (no set that opens is empty).
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class names, in the order of the labels. Empty for a set without labels.
    fn classes(&self) -> &[String];

    /// Names of the values of a mask. The classes, unless the set has a background.
    fn mask_classes(&self) -> &[String] {
        self.classes()
    }

    /// The mask value that losses and scores leave out, if the set has one.
    fn ignore_index(&self) -> Option<u8> {
        None
    }

    /// Class of image `index`, without reading it.
    fn label(&self, index: usize) -> Option<i64>;

    /// A name for image `index` that a user can find it by: a path, or a file and a record number.
    fn name(&self, index: usize) -> String;

    /// Reads and decodes image `index`.
    ///
    /// # Errors
    /// Of the kind [`crate::Error::is_broken_image`] if this image cannot be read.
    fn load(&self, index: usize) -> Result<Sample>;

    /// SHA-256, in hexadecimal, over the names, sizes and labels of all images: enough to see that
    /// a run was resumed on other data, without reading the pixels.
    fn fingerprint(&self) -> String;

    /// One line for a log: what it is, how many images and classes.
    fn describe(&self) -> String;
}

/// Collects a [`Dataset::fingerprint`].
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new(kind: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_bytes());
        Self(hash)
    }

    pub(crate) fn add(&mut self, name: &str, size: u64, label: Option<i64>) {
        self.0.update((name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self.0.update(size.to_le_bytes());
        self.0.update(label.unwrap_or(-1).to_le_bytes());
    }

    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `3,880 images, 10 classes`
pub(crate) fn counts(images: usize, classes: usize) -> String {
    let image = if images == 1 { "image" } else { "images" };
    match classes {
        0 => format!("{images} {image}, no labels"),
        1 => format!("{images} {image}, 1 class"),
        _ => format!("{images} {image}, {classes} classes"),
    }
}
