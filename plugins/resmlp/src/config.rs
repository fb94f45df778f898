//! Sizes of a ResMLP.

use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Named sizes (timm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum Arch {
    /// ResMLP-S12: 384 wide, 12 blocks, patches of 16.
    #[serde(rename = "resmlp_12")]
    ResMlp12,
    /// ResMLP-S24: 384 wide, 24 blocks, patches of 16.
    #[serde(rename = "resmlp_24")]
    ResMlp24,
    /// ResMLP-S36: 384 wide, 36 blocks, patches of 16.
    #[serde(rename = "resmlp_36")]
    ResMlp36,
    /// ResMLP-B24: 768 wide, 24 blocks, patches of 8.
    #[serde(rename = "resmlp_big_24")]
    ResMlpBig24,
}

/// Options of the `resmlp` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "resmlp_12")]
    pub arch: Arch,
    /// Pixels per side of a patch.
    pub patch_size: Option<usize>,
    /// Pixels per side of the images. The token mixer has a weight for each pair of positions, so that
    /// images of no other size can be encoded: local crops as large as global ones, or none.
    #[serde(default = "imagenet")]
    pub img_size: usize,
    /// Width.
    pub embed_dim: Option<usize>,
    /// Number of blocks.
    pub depth: Option<usize>,
    /// Hidden width of the MLP over the width.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// First value of the layer scales, smaller in deeper networks: 0.1 for 12 blocks, 1e-5 for 24,
    /// 1e-6 for 36 and for `resmlp_big_24`. 0 leaves them out.
    pub layer_scale: Option<f64>,
}

fn resmlp_12() -> Arch {
    Arch::ResMlp12
}
fn imagenet() -> usize {
    224
}
fn four() -> f64 {
    4.0
}

/// Sizes, resolved and checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Pixels per side of a patch.
    pub patch: usize,
    /// Pixels per side of an image.
    pub image: usize,
    /// Width C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (width, depth, patch, layer_scale) = match config.arch {
            Arch::ResMlp12 => (384, 12, 16, 0.1),
            Arch::ResMlp24 => (384, 24, 16, 1e-5),
            Arch::ResMlp36 => (384, 36, 16, 1e-6),
            Arch::ResMlpBig24 => (768, 24, 8, 1e-6),
        };
        let width = config.embed_dim.unwrap_or(width);
        let sizes = Self {
            patch: config.patch_size.unwrap_or(patch),
            image: config.img_size,
            width,
            depth: config.depth.unwrap_or(depth),
            hidden: (width as f64 * config.mlp_ratio) as usize,
            layer_scale: config.layer_scale.unwrap_or(layer_scale),
        };
        if sizes.patch == 0 || !sizes.image.is_multiple_of(sizes.patch) || sizes.image == 0 {
            refuse!(
                "resmlp: img_size {}, patch_size {}; expected a multiple of patch_size",
                sizes.image,
                sizes.patch
            );
        }
        if sizes.depth == 0 || sizes.width == 0 || sizes.hidden == 0 {
            refuse!(
                "resmlp: depth {}, embed_dim {}, mlp_ratio {}; expected a block, a channel and a hidden \
                 channel at least",
                sizes.depth,
                sizes.width,
                config.mlp_ratio
            );
        }
        Ok(sizes)
    }

    /// Cells per side of the map.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}
