//! Sizes of a ResNet.

use hssl_plugin_api::component::StageSpec;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::block::BlockKind;

/// Named sizes (torchvision).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// Basic blocks, 2, 2, 2, 2.
    ResNet18,
    /// Basic blocks, 3, 4, 6, 3.
    ResNet34,
    /// Bottlenecks, 3, 4, 6, 3.
    ResNet50,
    /// Bottlenecks, 3, 4, 23, 3.
    ResNet101,
}

/// What comes before the first stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 7x7 convolution of stride 2, then 3x3 max-pooling of stride 2: a map of stride 32.
    ImageNet,
    /// 3x3 convolution of stride 1 and no pooling (SimCLR's form for CIFAR): a map of stride 8.
    Cifar,
}

impl Stem {
    /// Pixels per cell after it.
    pub fn stride(self) -> usize {
        match self {
            Self::ImageNet => 4,
            Self::Cifar => 1,
        }
    }

    /// Pixels per side of the images that it is meant for.
    pub fn image_size(self) -> usize {
        match self {
            Self::ImageNet => 224,
            Self::Cifar => 32,
        }
    }
}

/// Options of the `resnet` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "resnet50")]
    pub arch: Arch,
    /// What comes before the first stage: `imagenet` for large images, `cifar` for small ones.
    #[serde(default = "imagenet")]
    pub stem: Stem,
    /// Kind of the blocks.
    pub block: Option<BlockKind>,
    /// Blocks of each stage.
    pub depths: Option<[usize; 4]>,
    /// Channels of each stage's 3x3 convolutions (64, 128, 256, 512).
    /// A bottleneck's map has four times as many; the stem has those of the first stage.
    pub widths: Option<[usize; 4]>,
    /// Start the last batch norm of each block at 0, so that blocks start as their shortcuts (MoCo v3
    /// does, DINO does not).
    #[serde(default)]
    pub zero_init_last: bool,
}

fn resnet50() -> Arch {
    Arch::ResNet50
}
fn imagenet() -> Stem {
    Stem::ImageNet
}

/// Sizes, resolved and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What comes before the first stage.
    pub stem: Stem,
    /// Kind of the blocks.
    pub block: BlockKind,
    /// Blocks of each stage.
    pub depths: [usize; 4],
    /// Channels of each stage's k x k convolutions.
    pub widths: [usize; 4],
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (block, depths) = match config.arch {
            Arch::ResNet18 => (BlockKind::Basic, [2, 2, 2, 2]),
            Arch::ResNet34 => (BlockKind::Basic, [3, 4, 6, 3]),
            Arch::ResNet50 => (BlockKind::Bottleneck, [3, 4, 6, 3]),
            Arch::ResNet101 => (BlockKind::Bottleneck, [3, 4, 23, 3]),
        };
        let sizes = Self {
            stem: config.stem,
            block: config.block.unwrap_or(block),
            depths: config.depths.unwrap_or(depths),
            widths: config.widths.unwrap_or([64, 128, 256, 512]),
        };
        for (name, values) in [("depths", sizes.depths), ("widths", sizes.widths)] {
            if values.contains(&0) {
                refuse!("resnet: {name} {values:?}; expected four numbers above 0");
            }
        }
        Ok(sizes)
    }

    /// Resolutions of the stages.
    pub fn stages(&self) -> [StageSpec; 4] {
        let mut stride = self.stem.stride();
        let expansion = self.block.expansion();
        self.widths.map(|width| {
            let stage = StageSpec { stride, width: width * expansion };
            stride *= 2;
            stage
        })
    }
}
