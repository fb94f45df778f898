//! Readers of the formats that sets of images come in, one file each.

pub(crate) mod cifar;
pub(crate) mod coco;
pub(crate) mod image_folder;
pub(crate) mod segmentation;
pub(crate) mod webdataset;
