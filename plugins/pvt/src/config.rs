//! Sizes of the two models.

use hssl_plugin_api::component::{BackboneSpec, StageSpec};
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stages of a pyramid.
pub const STAGES: usize = 4;

/// Named sizes of `pvt` (Wang et al., 2021).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are the paper's")]
pub enum Arch {
    /// 2, 2, 2, 2 blocks.
    PvtTiny,
    /// 3, 4, 6, 3 blocks.
    #[default]
    PvtSmall,
    /// 3, 4, 18, 3 blocks.
    PvtMedium,
    /// 3, 8, 27, 3 blocks.
    PvtLarge,
}

/// Named sizes of `pvt_v2` (timm).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum ArchV2 {
    /// 32 to 256 wide; 2, 2, 2, 2 blocks.
    PvtV2B0,
    /// 64 to 512 wide; 2, 2, 2, 2 blocks.
    PvtV2B1,
    /// 64 to 512 wide; 3, 4, 6, 3 blocks.
    #[default]
    PvtV2B2,
    /// 64 to 512 wide; 3, 4, 18, 3 blocks.
    PvtV2B3,
    /// 64 to 512 wide; 3, 8, 27, 3 blocks.
    PvtV2B4,
    /// 64 to 512 wide; 3, 6, 40, 3 blocks; narrower MLPs.
    PvtV2B5,
}

/// Options of a pyramid. Keys that are given override those of `arch`; lists go by stage, finest first.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config<A: Default> {
    /// A named size.
    #[serde(default)]
    pub arch: A,
    /// Pixels per side of the images that the model is built for, and `pvt`'s positions with it.
    #[serde(default = "imagenet")]
    pub img_size: usize,
    /// Pixels between the first stage's positions; each later stage halves the map.
    #[serde(default = "four")]
    pub patch_size: usize,
    /// Widths.
    pub embed_dims: Option<[usize; STAGES]>,
    /// Numbers of blocks.
    pub depths: Option<[usize; STAGES]>,
    /// Attention heads; each must divide its stage's width.
    pub num_heads: Option<[usize; STAGES]>,
    /// Hidden widths of the MLPs over the widths.
    pub mlp_ratios: Option<[f64; STAGES]>,
    /// Sides of the squares of positions that attention's keys and values are reduced from; the last
    /// must be 1. What they leave over at the right and the bottom of a map is not attended to.
    pub sr_ratios: Option<[usize; STAGES]>,
}

fn imagenet() -> usize {
    224
}
fn four() -> usize {
    4
}

/// A backbone's named sizes.
pub trait Named: Copy + Default {
    /// The backbone's name, for messages.
    const BACKBONE: &'static str;

    /// What the name stands for.
    fn pyramid(self) -> Pyramid;
}

/// What a named size sets, by stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pyramid {
    depths: [usize; STAGES],
    embed_dims: [usize; STAGES],
    num_heads: [usize; STAGES],
    mlp_ratios: [f64; STAGES],
    sr_ratios: [usize; STAGES],
}

/// What nearly all named sizes share.
const USUAL: Pyramid = Pyramid {
    depths: [3, 4, 6, 3],
    embed_dims: [64, 128, 320, 512],
    num_heads: [1, 2, 5, 8],
    mlp_ratios: [8.0, 8.0, 4.0, 4.0],
    sr_ratios: [8, 4, 2, 1],
};

impl Named for Arch {
    const BACKBONE: &'static str = "pvt";

    fn pyramid(self) -> Pyramid {
        let depths = match self {
            Self::PvtTiny => [2, 2, 2, 2],
            Self::PvtSmall => [3, 4, 6, 3],
            Self::PvtMedium => [3, 4, 18, 3],
            Self::PvtLarge => [3, 8, 27, 3],
        };
        Pyramid { depths, ..USUAL }
    }
}

impl Named for ArchV2 {
    const BACKBONE: &'static str = "pvt_v2";

    fn pyramid(self) -> Pyramid {
        match self {
            Self::PvtV2B0 => {
                Pyramid { depths: [2, 2, 2, 2], embed_dims: [32, 64, 160, 256], ..USUAL }
            }
            Self::PvtV2B1 => Pyramid { depths: [2, 2, 2, 2], ..USUAL },
            Self::PvtV2B2 => USUAL,
            Self::PvtV2B3 => Pyramid { depths: [3, 4, 18, 3], ..USUAL },
            Self::PvtV2B4 => Pyramid { depths: [3, 8, 27, 3], ..USUAL },
            Self::PvtV2B5 => Pyramid { depths: [3, 6, 40, 3], mlp_ratios: [4.0; STAGES], ..USUAL },
        }
    }
}

/// Sizes, resolved and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Pixels per side of an image.
    pub image: usize,
    /// The stages, finest first.
    pub stages: [StageSizes; STAGES],
}

/// Sizes of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageSizes {
    /// Pixels per position.
    pub stride: usize,
    /// Width C.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Spatial reduction R of keys and values.
    pub reduction: usize,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new<A: Named>(config: &Config<A>) -> Result<Self> {
        let name = A::BACKBONE;
        let named = config.arch.pyramid();
        let widths = config.embed_dims.unwrap_or(named.embed_dims);
        let depths = config.depths.unwrap_or(named.depths);
        let heads = config.num_heads.unwrap_or(named.num_heads);
        let mlp_ratios = config.mlp_ratios.unwrap_or(named.mlp_ratios);
        let reductions = config.sr_ratios.unwrap_or(named.sr_ratios);
        let sizes = Self {
            image: config.img_size,
            stages: std::array::from_fn(|i| StageSizes {
                stride: config.patch_size << i,
                width: widths[i],
                depth: depths[i],
                heads: heads[i],
                hidden: (widths[i] as f64 * mlp_ratios[i]) as usize,
                reduction: reductions[i],
            }),
        };
        let stride = sizes.last().stride;
        if stride == 0 || sizes.image == 0 || !sizes.image.is_multiple_of(stride) {
            refuse!(
                "{name}: img_size {} with patch_size {}; expected a multiple of 8 x patch_size = {stride}",
                sizes.image,
                config.patch_size
            );
        }
        for (i, stage) in sizes.stages.iter().enumerate() {
            let StageSizes { width, depth, heads, hidden, reduction, .. } = *stage;
            let grid = sizes.grid(i);
            if width == 0 || depth == 0 || hidden == 0 {
                refuse!(
                    "{name}: stage {} has width {width}, {depth} blocks and a hidden width of {hidden}; \
                     embed_dims, depths and mlp_ratios must be above 0",
                    i + 1
                );
            }
            if heads == 0 || !width.is_multiple_of(heads) {
                refuse!(
                    "{name}: num_heads {heads} of stage {} does not divide its width {width}",
                    i + 1
                );
            }
            if reduction == 0 || reduction > grid {
                refuse!(
                    "{name}: sr_ratios has {reduction} for stage {}, whose map is {grid} x {grid} at \
                     img_size {}; expected 1 to {grid}",
                    i + 1,
                    sizes.image
                );
            }
        }
        if sizes.last().reduction != 1 {
            refuse!(
                "{name}: sr_ratios ends with {}; expected 1: the last stage attends to every position",
                sizes.last().reduction
            );
        }
        Ok(sizes)
    }

    /// The coarsest stage.
    pub fn last(&self) -> &StageSizes {
        &self.stages[STAGES - 1]
    }

    /// Positions per side of a stage's map.
    pub fn grid(&self, stage: usize) -> usize {
        self.image / self.stages[stage].stride
    }

    /// As the host wants to know them.
    pub fn spec(&self) -> BackboneSpec {
        let stage = |stage: &StageSizes| StageSpec { stride: stage.stride, width: stage.width };
        BackboneSpec {
            width: self.last().width,
            blocks: self.stages.iter().map(|stage| stage.depth).sum(),
            stages: self.stages.iter().map(stage).collect(),
            image_size: self.image,
        }
    }

    /// How many of the last `layers` blocks lie in a stage.
    pub fn layers_in(&self, stage: usize, layers: usize) -> usize {
        let later: usize = self.stages[stage + 1..].iter().map(|stage| stage.depth).sum();
        layers.saturating_sub(later).min(self.stages[stage].depth)
    }
}
