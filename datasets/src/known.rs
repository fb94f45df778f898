//! Sets that are known by name.

use std::path::{Path, PathBuf};

use crate::error::suggestion;
use crate::format::cifar::Kind;
use crate::{Error, Result};

/// A set that a SPEC may name without saying where and what it is.
#[derive(Clone, Debug)]
pub struct KnownSet {
    /// The name in a SPEC.
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    /// Its splits, the training one first.
    pub splits: &'static [&'static str],
    /// Number of classes.
    pub classes: usize,
    /// Width and height of its images; `None` where they vary.
    pub image_size: Option<(usize, usize)>,
    /// Folder below the data root, when unpacked; also the archive's own top folder, except where a
    /// part of a set is packed under the whole set's folder: that one is unpacked into this.
    pub folder: &'static str,
    /// Archive below the data root, when packed.
    pub archive: &'static str,
    /// Where to fetch the archive; `None` where that takes an account or somebody's copy.
    pub url: Option<&'static str>,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: Option<&'static str>,
    pub(crate) layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    ImageFolder,
    Cifar(Kind),
    Segmentation,
    Coco,
    Generated,
}

/// All sets known by name.
pub fn known() -> &'static [KnownSet] {
    &KNOWN
}

const KNOWN: [KnownSet; 11] = [
    KnownSet {
        name: "generated:shapes",
        description: "shapes on clutter, drawn on the fly; needs no files",
        splits: &["train", "val", "test"],
        classes: 10,
        image_size: Some((32, 32)),
        folder: "",
        archive: "",
        url: None,
        sha256: None,
        layout: Layout::Generated,
    },
    KnownSet {
        name: "cifar10",
        description: "CIFAR-10, official binary version (50,000 train, 10,000 test)",
        splits: &["train", "test"],
        classes: 10,
        image_size: Some((32, 32)),
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        url: Some("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
        sha256: Some("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        layout: Layout::Cifar(Kind::Cifar10),
    },
    KnownSet {
        name: "cifar10-jpeg",
        description: "CIFAR-10 as JPEGs of quality 75 in class folders (50,000 train, 10,000 test)",
        splits: &["train", "test"],
        classes: 10,
        image_size: Some((32, 32)),
        folder: "cifar10-jpeg",
        archive: "cifar10-jpeg.tar.gz",
        url: None,
        sha256: Some("3b9530212835ad6af420c4755789b01a293e8fb1d46a8f16413f70907858d326"),
        layout: Layout::ImageFolder,
    },
    KnownSet {
        name: "cifar10-mini",
        description: "the first 1,000 records of each CIFAR-10 file (5,000 train, 1,000 test)",
        splits: &["train", "test"],
        classes: 10,
        image_size: Some((32, 32)),
        folder: "cifar10-mini",
        archive: "cifar10-mini-bin.tar.gz",
        url: None,
        sha256: Some("c8099ee5bb87587d9e07327cd469880cba0053c6e563dcc354ceb470da0704d8"),
        layout: Layout::Cifar(Kind::Cifar10),
    },
    KnownSet {
        name: "cifar100",
        description: "CIFAR-100, official binary version, fine labels (50,000 train, 10,000 test)",
        splits: &["train", "test"],
        classes: 100,
        image_size: Some((32, 32)),
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        url: Some("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"),
        sha256: Some("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        layout: Layout::Cifar(Kind::Cifar100),
    },
    KnownSet {
        name: "cifar100-mini",
        description: "the first records of each CIFAR-100 file (486 train, 600 test)",
        splits: &["train", "test"],
        classes: 100,
        image_size: Some((32, 32)),
        folder: "cifar100-mini",
        archive: "cifar100-mini-bin.tar.gz",
        url: None,
        sha256: Some("b2c427d216a5aa1c12f97f1fcf46cfde7e51569aad8878ccddffaa2389bcb224"),
        layout: Layout::Cifar(Kind::Cifar100),
    },
    KnownSet {
        name: "imagenet",
        description: "ImageNet-1k, class folders below train/ and val/ (1,281,167 train, 50,000 val)",
        splits: &["train", "val"],
        classes: 1000,
        image_size: None,
        folder: "imagenet",
        archive: "imagenet.tar",
        url: None,
        sha256: None,
        layout: Layout::ImageFolder,
    },
    KnownSet {
        name: "imagenette-160",
        description: "ten classes of ImageNet at 160x160, a part of Imagenette (3,880 train, 800 val)",
        splits: &["train", "val"],
        classes: 10,
        image_size: Some((160, 160)),
        folder: "imagenette-160",
        archive: "imagenette-160.tar",
        url: None,
        sha256: Some("4db30124a7b3928edf9a241d4f48cc969de31a2a852215ad8859c309b950ff4b"),
        layout: Layout::ImageFolder,
    },
    KnownSet {
        name: "imagenette2-160",
        description: "Imagenette v2, short side 160 (9,469 train, 3,925 val)",
        splits: &["train", "val"],
        classes: 10,
        image_size: None,
        folder: "imagenette2-160",
        archive: "imagenette2-160.tgz",
        url: Some("https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"),
        sha256: None,
        layout: Layout::ImageFolder,
    },
    KnownSet {
        name: "camvid",
        description: "CamVid street scenes with 11 classes and void masked (265 train, 101 val)",
        splits: &["train", "val"],
        classes: 12,
        image_size: Some((480, 360)),
        folder: "CamVid",
        archive: "camvid-480x360.tar",
        url: None,
        sha256: Some("7e1fd024d116fa4fd16df9c1aa53b0dd37919acb3e9dfebbec865bd8405e94dd"),
        layout: Layout::Segmentation,
    },
    KnownSet {
        name: "coco-mini",
        description: "a small part of COCO 2017 with boxes and outlines (80 train, 64 val)",
        splits: &["train", "val"],
        classes: 80,
        image_size: None,
        folder: "coco-mini",
        archive: "coco-mini.tar",
        url: None,
        sha256: Some("06cd03a2d8d5aa7def61763e5fa3797ff89833be07a53f107231c8a050532cd4"),
        layout: Layout::Coco,
    },
];

/// Where a known set was found.
pub(crate) enum Found {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl KnownSet {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|set| set.name == name)
    }

    /// The split asked for; `val` and `test` stand for each other where a set has one of them.
    pub(crate) fn split(&self, split: Option<&str>) -> Result<&'static str> {
        let Some(split) = split else { return Ok(self.splits[0]) };
        let has = |wanted: &str| self.splits.iter().find(|known| **known == wanted).copied();
        let other = match split {
            "val" => has("test"),
            "test" => has("val"),
            _ => None,
        };
        has(split).or(other).ok_or_else(|| Error::UnknownSplit {
            set: self.name.into(),
            split: split.into(),
            suggestion: suggestion(split, self.splits.iter().copied()),
            available: self.splits.join(", "),
        })
    }

    /// The set's folder or archive below `data_root`.
    pub(crate) fn locate(&self, data_root: Option<&Path>) -> Result<Found> {
        let not_installed = |looked_for: String, root: &str| Error::NotInstalled {
            name: self.name.into(),
            looked_for,
            how_to_get: match self.url {
                Some(_) => format!("Fetch it with `hssl data fetch {}`{root}", self.name),
                None => format!("Put {} there, packed or unpacked{root}", self.archive),
            },
        };
        let Some(root) = data_root else {
            let where_to = "; name the folder of your data sets with --data-root or HSSL_DATA";
            return Err(not_installed("nothing, no data root is set".into(), where_to));
        };
        let (folder, archive) = (root.join(self.folder), root.join(self.archive));
        if folder.is_dir() {
            Ok(Found::Folder(folder))
        } else if archive.is_file() {
            Ok(Found::Archive(archive))
        } else {
            let looked_for = format!("{} and {}", folder.display(), archive.display());
            Err(not_installed(looked_for, ", or change --data-root (HSSL_DATA)"))
        }
    }
}
