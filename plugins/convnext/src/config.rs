//! Sizes of a ConvNeXt.

use hssl_plugin_api::component::StageSpec;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Stages;

/// Named sizes (timm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "the names are timm's")]
pub enum Arch {
    /// 40 to 320 wide, 2-2-6-2 blocks.
    ConvnextAtto,
    /// 48 to 384 wide, 2-2-6-2 blocks.
    ConvnextFemto,
    /// 64 to 512 wide, 2-2-6-2 blocks.
    ConvnextPico,
    /// 80 to 640 wide, 2-2-8-2 blocks.
    ConvnextNano,
    /// 96 to 768 wide, 3-3-9-3 blocks.
    ConvnextTiny,
    /// 96 to 768 wide, 3-3-27-3 blocks.
    ConvnextSmall,
    /// 128 to 1024 wide, 3-3-27-3 blocks.
    ConvnextBase,
    /// 192 to 1536 wide, 3-3-27-3 blocks.
    ConvnextLarge,
}

impl Arch {
    /// Width of the first stage, which the following ones double; blocks of each stage; whether timm
    /// writes the MLP as 1x1 convolutions.
    fn sizes(self) -> (usize, [usize; 4], bool) {
        match self {
            Self::ConvnextAtto => (40, [2, 2, 6, 2], true),
            Self::ConvnextFemto => (48, [2, 2, 6, 2], true),
            Self::ConvnextPico => (64, [2, 2, 6, 2], true),
            Self::ConvnextNano => (80, [2, 2, 8, 2], true),
            Self::ConvnextTiny => (96, [3, 3, 9, 3], false),
            Self::ConvnextSmall => (96, [3, 3, 27, 3], false),
            Self::ConvnextBase => (128, [3, 3, 27, 3], false),
            Self::ConvnextLarge => (192, [3, 3, 27, 3], false),
        }
    }
}

/// Options of the `convnext` backbone. Keys that are given override those of `arch`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named size.
    #[serde(default = "tiny")]
    pub arch: Arch,
    /// Pixels per side of the stem's patches: the stride of the first stage. Each following stage
    /// halves the map, so images of 32 pixels want 1 or 2 here, or fewer stages.
    #[serde(default = "four")]
    pub patch_size: usize,
    /// Blocks of each stage; as many stages as numbers.
    pub depths: Option<Vec<usize>>,
    /// Width of each stage.
    pub dims: Option<Vec<usize>>,
    /// Side of the depthwise kernels, odd.
    #[serde(default = "seven")]
    pub kernel_size: usize,
    /// First value of the layer scale; 0 leaves it out.
    #[serde(default = "layer_scale")]
    pub layer_scale: f64,
    /// Whether the MLPs' weights are kept as those of 1x1 convolutions, as timm does for sizes below
    /// `convnext_tiny`. It changes the files that weights fit, not what is computed.
    pub conv_mlp: Option<bool>,
    /// Epsilon of the layer norms.
    #[serde(default = "ln_eps")]
    pub ln_eps: f64,
}

fn tiny() -> Arch {
    Arch::ConvnextTiny
}
fn four() -> usize {
    4
}
fn seven() -> usize {
    7
}
fn layer_scale() -> f64 {
    1e-6
}
fn ln_eps() -> f64 {
    1e-6
}

/// Sizes, resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Pixels per side of the stem's patches.
    pub patch: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Width of each stage.
    pub dims: Vec<usize>,
    /// Side of the depthwise kernels.
    pub kernel: usize,
    /// First value of the layer scale; 0: none.
    pub layer_scale: f64,
    /// Whether the MLPs' weights are those of 1x1 convolutions.
    pub conv_mlp: bool,
    /// Epsilon of the layer norms.
    pub ln_eps: f64,
}

impl Sizes {
    /// Fills in the named size and checks that everything fits.
    pub fn new(config: Config) -> Result<Self> {
        let (width, depths, conv_mlp) = config.arch.sizes();
        let sizes = Self {
            patch: config.patch_size,
            depths: config.depths.unwrap_or_else(|| depths.to_vec()),
            dims: config.dims.unwrap_or_else(|| (0..4).map(|i| width << i).collect()),
            kernel: config.kernel_size,
            layer_scale: config.layer_scale,
            conv_mlp: config.conv_mlp.unwrap_or(conv_mlp),
            ln_eps: config.ln_eps,
        };
        Stages::check("convnext", &sizes.depths, &sizes.dims)?;
        if sizes.patch == 0 {
            refuse!("convnext: patch_size 0; expected at least 1");
        }
        if sizes.kernel.is_multiple_of(2) {
            refuse!("convnext: kernel_size {}; expected an odd number", sizes.kernel);
        }
        Ok(sizes)
    }

    /// Widths and strides.
    pub fn stages(&self) -> Vec<StageSpec> {
        Stages::stage_specs(self.patch, &self.dims)
    }

    /// Pixels per cell of the output map.
    pub fn stride(&self) -> usize {
        self.patch << (self.dims.len() - 1)
    }

    /// Width of the output map.
    pub fn width(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }
}
