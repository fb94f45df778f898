//! A stack of ConvNeXt blocks on the base's last map.

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::nn::Blocks;
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::block::{Block, BlockConfig};

/// Options of the `convnext` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// Side of the depthwise kernel, odd.
    #[serde(default = "seven")]
    pub kernel_size: usize,
    /// Which shortcuts of block 0 are removed. There is one per block: `first` and `both` agree.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep the depthwise convolution (Table 17).
    #[serde(default = "yes")]
    pub token_mixer: bool,
    /// Keep the MLP (Table 17).
    #[serde(default = "yes")]
    pub mlp: bool,
    /// First value of a layer scale; 0, the default, leaves it out, because a small one would
    /// keep a branch without its shortcut numerically dead.
    #[serde(default)]
    pub layer_scale: f64,
    /// Epsilon of the blocks' layer norms.
    #[serde(default = "ln_eps")]
    pub ln_eps: f64,
}

fn three() -> usize {
    3
}
fn seven() -> usize {
    7
}
fn yes() -> bool {
    true
}
fn ln_eps() -> f64 {
    1e-5
}

/// ConvNeXt blocks at constant width and resolution.
pub struct ConvNeXtHead {
    width: usize,
    blocks: Blocks<Block>,
}

impl Head for ConvNeXtHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        if config.depth == 0 {
            refuse!("convnext head: depth 0; expected at least 1");
        }
        if config.kernel_size.is_multiple_of(2) {
            refuse!("convnext head: kernel_size {}; expected an odd number", config.kernel_size);
        }
        if !config.token_mixer && !config.mlp {
            refuse!("convnext head: token_mixer and mlp are both off; keep one");
        }
        let blocks = Blocks::new(config.depth, |i| {
            let fan_in = Init::fan_in(config.kernel_size * config.kernel_size);
            let block = BlockConfig {
                width: input.width,
                kernel: config.kernel_size,
                conv_init: (fan_in.clone(), fan_in),
                ln_eps: config.ln_eps,
                layer_scale: config.layer_scale,
                shortcut: config.first_shortcut.keeps_first(i),
                token_mixer: config.token_mixer,
                mlp: config.mlp,
                conv_mlp: false,
            };
            Block::new(block, &params.pp("blocks").pp(i))
        })?;
        Ok(Self { width: input.width, blocks })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.blocks.set_drop_path(rates);
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        self.blocks.forward(cx, map)
    }
}
