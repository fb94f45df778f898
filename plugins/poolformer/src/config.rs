//! Sizes of a PoolFormer.

use hssl_plugin_api::Result;
use hssl_plugin_api::component::StageSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Stages;

/// Pixels per cell of the first stage.
pub const STEM_STRIDE: usize = 4;

/// Named sizes (timm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum Arch {
    /// 64 to 512 wide, 2-2-6-2 blocks.
    #[serde(rename = "poolformer_s12")]
    PoolformerS12,
    /// 64 to 512 wide, 4-4-12-4 blocks.
    #[serde(rename = "poolformer_s24")]
    PoolformerS24,
    /// 64 to 512 wide, 6-6-18-6 blocks.
    #[serde(rename = "poolformer_s36")]
    PoolformerS36,
    /// 96 to 768 wide, 6-6-18-6 blocks.
    #[serde(rename = "poolformer_m36")]
    PoolformerM36,
    /// 96 to 768 wide, 8-8-24-8 blocks.
    #[serde(rename = "poolformer_m48")]
    PoolformerM48,
}

impl Arch {
    /// Widths and blocks of each stage, and the first value of the layer scales.
    fn sizes(self) -> ([usize; 4], [usize; 4], f64) {
        const SMALL: [usize; 4] = [64, 128, 320, 512];
        const MEDIUM: [usize; 4] = [96, 192, 384, 768];
        match self {
            Self::PoolformerS12 => (SMALL, [2, 2, 6, 2], 1e-5),
            Self::PoolformerS24 => (SMALL, [4, 4, 12, 4], 1e-5),
            Self::PoolformerS36 => (SMALL, [6, 6, 18, 6], 1e-6),
            Self::PoolformerM36 => (MEDIUM, [6, 6, 18, 6], 1e-6),
            Self::PoolformerM48 => (MEDIUM, [8, 8, 24, 8], 1e-6),
        }
    }
}

/// The norm after the last stage. Both have the same parameters, so that weights fit either; images'
/// vectors differ by a factor of their own each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinalNorm {
    /// Over all positions and channels of the map, before the mean over positions (the paper's).
    #[default]
    GroupNorm,
    /// Over channels, after the mean over positions and at each position of the map (timm's models).
    LayerNorm,
}

/// Options of the `poolformer` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "s12")]
    pub arch: Arch,
    /// Blocks of each stage; as many stages as numbers.
    pub depths: Option<Vec<usize>>,
    /// Width of each stage.
    pub dims: Option<Vec<usize>>,
    /// Side of the pooling's window, odd.
    #[serde(default = "three")]
    pub pool_size: usize,
    /// First value of the layer scales: 1e-5 for `poolformer_s12` and `poolformer_s24`, 1e-6 for the
    /// larger ones. 0 leaves them out.
    pub layer_scale: Option<f64>,
    /// The norm after the last stage.
    #[serde(default)]
    pub final_norm: FinalNorm,
}

fn s12() -> Arch {
    Arch::PoolformerS12
}
fn three() -> usize {
    3
}

/// Sizes, resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Width of each stage.
    pub dims: Vec<usize>,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: &Config) -> Result<Self> {
        let (dims, depths, layer_scale) = config.arch.sizes();
        let sizes = Self {
            depths: config.depths.clone().unwrap_or_else(|| depths.to_vec()),
            dims: config.dims.clone().unwrap_or_else(|| dims.to_vec()),
            layer_scale: config.layer_scale.unwrap_or(layer_scale),
        };
        Stages::check("poolformer", &sizes.depths, &sizes.dims)?;
        Ok(sizes)
    }

    /// Widths and strides.
    pub fn stages(&self) -> Vec<StageSpec> {
        Stages::stage_specs(STEM_STRIDE, &self.dims)
    }

    /// Pixels per cell of the output map.
    pub fn stride(&self) -> usize {
        STEM_STRIDE << (self.dims.len() - 1)
    }

    /// Width of the output map.
    pub fn width(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }
}
