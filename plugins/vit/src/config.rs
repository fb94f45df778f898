//! Sizes of a Vision Transformer.

use hssl_plugin_api::nn::{FirstAxis, LinearInit};
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
    /// 512 wide, 12 blocks, 8 heads.
    VitMedium,
    /// 640 wide, 12 blocks, 10 heads.
    VitBetwixt,
    /// 768 wide, 12 blocks, 12 heads.
    VitBase,
    /// 1024 wide, 24 blocks, 16 heads.
    VitLarge,
    /// 1280 wide, 32 blocks, 16 heads.
    VitHuge,
}

impl Arch {
    /// Width, blocks, attention heads.
    fn sizes(self) -> (usize, usize, usize) {
        match self {
            Self::VitTiny => (192, 12, 3),
            Self::VitSmall => (384, 12, 6),
            Self::VitMedium => (512, 12, 8),
            Self::VitBetwixt => (640, 12, 10),
            Self::VitBase => (768, 12, 12),
            Self::VitLarge => (1024, 24, 16),
            Self::VitHuge => (1280, 32, 16),
        }
    }
}

/// Where positions come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PosEmbed {
    /// Learned.
    #[default]
    Learned,
    /// Sines and cosines of column and row, not trained (MAE, MFF). Class and register tokens have none.
    SinCos,
    /// The same with the row first (MoCo v3).
    SinCosRowFirst,
}

impl PosEmbed {
    /// The order of the axes, if positions are fixed.
    pub fn fixed(self) -> Option<FirstAxis> {
        match self {
            Self::Learned => None,
            Self::SinCos => Some(FirstAxis::Columns),
            Self::SinCosRowFirst => Some(FirstAxis::Rows),
        }
    }
}

/// How positions are resized to another grid.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightInit {
    /// Truncated normal with std 0.02; the patch embedding as PyTorch's convolutions (timm, DINO).
    #[default]
    TruncNormal,
    /// Glorot's uniform for every linear and for the patch embedding (MoCo v3, MAE). Learns sooner where
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
    /// Hidden width of the MLP over the width: 4 in every `arch`. (ViT-g, 1408 wide with 40 blocks and 16
    /// heads, has 4.3637.)
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Register tokens behind the class token (Darcet et al., 2024); they belong to no map.
    #[serde(default)]
    pub reg_tokens: usize,
    /// Leave class and register tokens without positions (DINOv2 with registers).
    #[serde(default)]
    pub no_embed_class: bool,
    /// First value of the layer scales of both parts of a block (DINOv2: 1e-5); 0, the default, leaves
    /// them out.
    #[serde(default)]
    pub layer_scale: f64,
    /// Where positions come from: `learned`, or fixed sines and cosines, `sin_cos` or `sin_cos_row_first`,
    /// for which the width must be a multiple of 4.
    #[serde(default)]
    pub pos_embed: PosEmbed,
    /// Do not train the patch embedding, which makes MoCo v3 stable.
    #[serde(default)]
    pub freeze_patch_embed: bool,
    /// How positions are resized for images of another size.
    #[serde(default = "auto")]
    pub pos_embed_resize: PosEmbedResize,
    /// How weights start.
    #[serde(default)]
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
    /// Tokens before the patches': class and registers.
    pub prefix: usize,
    /// Tokens before the patches' that have positions: all or none of them.
    pub placed: usize,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (width, depth, heads) = config.arch.sizes();
        let width = config.embed_dim.unwrap_or(width);
        let sizes = Self {
            patch: config.patch_size,
            image: config.img_size,
            width,
            depth: config.depth.unwrap_or(depth),
            heads: config.num_heads.unwrap_or(heads),
            // timm drops the fraction, too.
            hidden: (width as f64 * config.mlp_ratio) as usize,
            prefix: 1 + config.reg_tokens,
            placed: if config.no_embed_class { 0 } else { 1 + config.reg_tokens },
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
        if config.pos_embed.fixed().is_some() && !sizes.width.is_multiple_of(4) {
            refuse!(
                "vit: embed_dim {} with fixed positions; expected a multiple of 4, or \
                 pos_embed = \"learned\"",
                sizes.width
            );
        }
        Ok(sizes)
    }

    /// Rows of the table of positions.
    pub fn positions(&self) -> usize {
        self.placed + self.grid() * self.grid()
    }

    /// Cells per side of the map.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}
