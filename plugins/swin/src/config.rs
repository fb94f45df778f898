//! Sizes of a Swin Transformer.

use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::Padding;

/// Named sizes (timm's `swin_*_patch4_window7_224`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum Arch {
    /// 96 wide at first, 2 + 2 + 6 + 2 blocks.
    SwinTiny,
    /// 96 wide at first, 2 + 2 + 18 + 2 blocks.
    SwinSmall,
    /// 128 wide at first, 2 + 2 + 18 + 2 blocks.
    SwinBase,
    /// 192 wide at first, 2 + 2 + 18 + 2 blocks.
    SwinLarge,
}

/// Options of the `swin` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "tiny")]
    pub arch: Arch,
    /// Pixels per side of a patch. Images of any multiple are taken.
    #[serde(default = "four")]
    pub patch_size: usize,
    /// Pixels per side of the images that windows are chosen for: a stage whose map is not larger than
    /// a window has one window of that size and shifts none.
    #[serde(default = "imagenet")]
    pub img_size: usize,
    /// Width of the first stage; each further stage doubles it.
    pub embed_dim: Option<usize>,
    /// Number of blocks of each stage.
    pub depths: Option<Vec<usize>>,
    /// Attention heads of each stage; by default one per 32 channels. They must divide its width.
    pub num_heads: Option<Vec<usize>>,
    /// Cells per side of a window.
    #[serde(default = "seven")]
    pub window_size: usize,
    /// Hidden width of the MLP over the width.
    #[serde(default = "ratio")]
    pub mlp_ratio: f64,
    /// Epsilon of every layer norm: 1e-6 in iBOT, 1e-5 in the original program and in timm.
    #[serde(default = "ln_eps")]
    pub ln_eps: f64,
    /// When maps whose sides are no multiples of the window are padded, in blocks that shift.
    #[serde(default = "after_shift")]
    pub padding: Padding,
}

fn tiny() -> Arch {
    Arch::SwinTiny
}
fn four() -> usize {
    4
}
fn imagenet() -> usize {
    224
}
fn seven() -> usize {
    7
}
fn ratio() -> f64 {
    4.0
}
fn ln_eps() -> f64 {
    1e-6
}
fn after_shift() -> Padding {
    Padding::AfterShift
}

/// One head per 32 channels, as all published sizes have.
pub fn default_heads(width: usize) -> usize {
    (width / 32).max(1)
}

/// The width doubles with each.
const MOST_STAGES: usize = 8;

/// Sizes, resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Pixels per side of a patch.
    pub patch: usize,
    /// Pixels per side of an image.
    pub image: usize,
    /// Stages, finest first.
    pub stages: Vec<StageSizes>,
    /// Cells per side of a window.
    pub window: usize,
    /// Epsilon of the layer norms.
    pub ln_eps: f64,
}

/// Sizes of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageSizes {
    /// Channels.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Pixels per cell.
    pub stride: usize,
    /// Cells per side of the map of an image.
    pub grid: usize,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (width, depths) = match config.arch {
            Arch::SwinTiny => (96, [2, 2, 6, 2]),
            Arch::SwinSmall => (96, [2, 2, 18, 2]),
            Arch::SwinBase => (128, [2, 2, 18, 2]),
            Arch::SwinLarge => (192, [2, 2, 18, 2]),
        };
        let width = config.embed_dim.unwrap_or(width);
        let depths = config.depths.clone().unwrap_or_else(|| depths.to_vec());
        let (patch, image) = (config.patch_size, config.img_size);
        if patch == 0 || image == 0 || !image.is_multiple_of(patch) {
            refuse!("swin: img_size {image} is not a multiple of patch_size {patch}");
        }
        if depths.is_empty() || depths.len() > MOST_STAGES || depths.contains(&0) {
            refuse!(
                "swin: depths {depths:?}; expected 1 to {MOST_STAGES} stages, none of them empty"
            );
        }
        if width == 0 {
            refuse!("swin: embed_dim 0; expected at least 1");
        }
        if config.window_size == 0 {
            refuse!("swin: window_size 0; expected at least 1");
        }
        let heads = config.num_heads.as_ref();
        if let Some(heads) = heads.filter(|heads| heads.len() != depths.len()) {
            refuse!(
                "swin: num_heads {heads:?} for the stages of depths {depths:?}; expected one each"
            );
        }
        let stage = |(i, depth): (usize, &usize)| {
            let width = width << i;
            let heads = heads.map_or_else(|| default_heads(width), |heads| heads[i]);
            if heads == 0 || !width.is_multiple_of(heads) {
                refuse!("swin: num_heads {heads} of stage {i} does not divide its width {width}");
            }
            let hidden = (width as f64 * config.mlp_ratio) as usize;
            if hidden == 0 {
                refuse!("swin: mlp_ratio {}; expected more than 0", config.mlp_ratio);
            }
            let grid = (image / patch).div_ceil(1 << i);
            Ok(StageSizes { width, depth: *depth, heads, hidden, stride: patch << i, grid })
        };
        let stages = depths.iter().enumerate().map(stage).collect::<Result<Vec<_>>>()?;
        Ok(Self { patch, image, stages, window: config.window_size, ln_eps: config.ln_eps })
    }

    /// The last stage's; there is at least one.
    pub fn last(&self) -> &StageSizes {
        &self.stages[self.stages.len() - 1]
    }

    /// Residual blocks of all stages.
    pub fn blocks(&self) -> usize {
        self.stages.iter().map(|stage| stage.depth).sum()
    }
}
