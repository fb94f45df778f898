//! Sizes of a Vision Transformer.

use hssl_plugin_api::nn::LinearInit;
use hssl_plugin_api::{Init, Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Named sizes (timm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum Arch {
    /// 192 wide, 12 blocks, 3 heads.
    VitTiny,
    /// 384 wide, 12 blocks, 6 heads.
    VitSmall,
    /// 768 wide, 12 blocks, 12 heads.
    VitBase,
    /// 1024 wide, 24 blocks, 16 heads.
    VitLarge,
}

/// How learned positions are resized to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PosEmbedResize {
    /// `dino` while training, `timm` otherwise.
    Auto,
    /// Bicubic, with a scale of (n + 0.1) / n0.
    Dino,
    /// Bicubic, antialiased.
    Timm,
}

/// How weights start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightInit {
    /// Truncated normal with std 0.02; the patch embedding as PyTorch's convolutions (timm, DINO).
    TruncNormal,
    /// Glorot's uniform for every linear and for the patch embedding (MoCo v3). Learns sooner where
    /// the width is far below ViT-S's, for which an std of 0.02 is small.
    XavierUniform,
}

impl WeightInit {
    /// Of the linears in the blocks.
    pub fn linear(self) -> LinearInit {
        match self {
            Self::TruncNormal => LinearInit::TruncNormal,
            Self::XavierUniform => LinearInit::XavierUniform,
        }
    }

    /// Weight and bias of the patch embedding, for patches of `fan_in` values.
    pub fn patch_embed(self, fan_in: usize, width: usize) -> (Init, Init) {
        match self {
            Self::TruncNormal => (Init::fan_in(fan_in), Init::fan_in(fan_in)),
            Self::XavierUniform => (Init::xavier_uniform(fan_in, width), Init::ZEROS),
        }
    }
}

/// Options of the `vit` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "small")]
    pub arch: Arch,
    /// Pixels per side of a patch.
    #[serde(default = "sixteen")]
    pub patch_size: usize,
    /// Pixels per side of the images that the positions are made for.
    #[serde(default = "imagenet")]
    pub img_size: usize,
    /// Width.
    pub embed_dim: Option<usize>,
    /// Number of blocks.
    pub depth: Option<usize>,
    /// Attention heads; must divide the width.
    pub num_heads: Option<usize>,
    /// Hidden width of the MLP over the width.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// How positions are resized for images of another size.
    #[serde(default = "auto")]
    pub pos_embed_resize: PosEmbedResize,
    /// How weights start.
    #[serde(default = "trunc_normal")]
    pub weight_init: WeightInit,
}

fn small() -> Arch {
    Arch::VitSmall
}
fn sixteen() -> usize {
    16
}
fn imagenet() -> usize {
    224
}
fn four() -> f64 {
    4.0
}
fn trunc_normal() -> WeightInit {
    WeightInit::TruncNormal
}
fn auto() -> PosEmbedResize {
    PosEmbedResize::Auto
}

/// Sizes, resolved and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Pixels per side of a patch.
    pub patch: usize,
    /// Pixels per side of an image.
    pub image: usize,
    /// Width C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (width, depth, heads) = match config.arch {
            Arch::VitTiny => (192, 12, 3),
            Arch::VitSmall => (384, 12, 6),
            Arch::VitBase => (768, 12, 12),
            Arch::VitLarge => (1024, 24, 16),
        };
        let width = config.embed_dim.unwrap_or(width);
        let sizes = Self {
            patch: config.patch_size,
            image: config.img_size,
            width,
            depth: config.depth.unwrap_or(depth),
            heads: config.num_heads.unwrap_or(heads),
            hidden: (width as f64 * config.mlp_ratio).round() as usize,
        };
        if sizes.patch == 0 || !sizes.image.is_multiple_of(sizes.patch) || sizes.image == 0 {
            refuse!(
                "vit: img_size {} is not a multiple of patch_size {}",
                sizes.image,
                sizes.patch
            );
        }
        if sizes.heads == 0 || !sizes.width.is_multiple_of(sizes.heads) {
            refuse!("vit: num_heads {} does not divide embed_dim {}", sizes.heads, sizes.width);
        }
        if sizes.depth == 0 || sizes.width == 0 || sizes.hidden == 0 {
            refuse!("vit: depth, embed_dim and mlp_ratio must be above 0");
        }
        Ok(sizes)
    }

    /// Cells per side of the map.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}
