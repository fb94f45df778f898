//! Images for self-supervised learning: sets, decoding, augmentation and loaders.
//!
//! [`open`] turns a SPEC (`imagenette-160#train`, `imagefolder:photos`, `generated:shapes`) into a
//! [`Dataset`]; a [`Transform`] such as [`MultiCrop`] says what views of an image are made; a
//! [`Loader`] makes the batches of an epoch.
//!
//! Invariant: this crate knows nothing of tensors, plugins or objectives. A batch is a vector of
//! floats.

mod augment;
mod cache;
mod dataset;
mod decode;
mod error;
mod format;
mod generated;
mod known;
mod loader;
mod order;
mod random;
mod sample;
mod spec;
mod subset;
mod tree;
mod write;

pub use augment::*;
pub use cache::cached;
pub use dataset::Dataset;
pub use decode::{IMAGE_EXTENSIONS, decode, decode_mask, is_image_name};
pub use error::{Error, Result};
pub use generated::{Shapes, ShapesOptions};
pub use known::{KnownSet, known};
pub use loader::{Batch, Delivery, Loader, LoaderOptions};
pub use order::{Shard, epoch_order};
pub use random::{Key, Stream};
pub use sample::{Image, Mask, ObjectBox, Outline, Sample};
pub use spec::{Roots, absolute, open};
pub use subset::{Portion, select, subset};
pub use write::write_to;
