//! A stack of Swin blocks on the base's last map.

use std::sync::Arc;

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::block::{Block, BlockConfig};
use crate::config::default_heads;
use crate::window::{Padding, Windows};

/// Options of the `swin` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks. Every other one, from the second, shifts its windows by half their side.
    #[serde(default = "three")]
    pub depth: usize,
    /// Cells per side of a window. If the map of global crops is not larger, one window covers it and
    /// no block shifts.
    #[serde(default = "seven")]
    pub window_size: usize,
    /// Attention heads; by default one per 32 channels. They must divide the width.
    pub num_heads: Option<usize>,
    /// When a map whose sides are no multiples of the window is padded, in blocks that shift.
    #[serde(default = "before_shift")]
    pub padding: Padding,
    /// Which shortcuts of block 0 are removed.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep the attention (Table 17).
    #[serde(default = "yes")]
    pub token_mixer: bool,
    /// Keep the MLP (Table 17). Without the attention its shortcut is the first one.
    #[serde(default = "yes")]
    pub mlp: bool,
    /// First value of layer scales; 0, the default, leaves them out, because a small one would
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
fn before_shift() -> Padding {
    Padding::BeforeShift
}
fn yes() -> bool {
    true
}
fn ln_eps() -> f64 {
    1e-6
}

/// Swin blocks at constant width and resolution.
pub struct SwinHead {
    width: usize,
    blocks: Vec<Arc<Block>>,
}

impl Head for SwinHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let width = input.width;
        if config.depth == 0 {
            refuse!("swin head: depth 0; expected at least 1");
        }
        if config.window_size == 0 {
            refuse!("swin head: window_size 0; expected at least 1");
        }
        if !config.token_mixer && !config.mlp {
            refuse!("swin head: token_mixer and mlp are both off; keep one");
        }
        let heads = config.num_heads.unwrap_or_else(|| default_heads(width));
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse!(
                "swin head: num_heads {heads} does not divide the width {width} of the base's map"
            );
        }
        let windows = || Windows::new(config.window_size, input.grid, config.padding, params);
        let windows = config.token_mixer.then(windows).transpose()?.map(Arc::new);
        let blocks = params.pp("blocks");
        let block = |i: usize| {
            let block = BlockConfig {
                width,
                heads,
                hidden: 4 * width,
                ln_eps: config.ln_eps,
                layer_scale: config.layer_scale,
                windows: windows.clone(),
                shifted: !i.is_multiple_of(2),
                mlp: config.mlp,
                first_shortcut: config.first_shortcut.keeps_first(i),
                second_shortcut: config.first_shortcut.keeps_second(i),
            };
            Block::new(&block, &blocks.pp(i)).map(Arc::new)
        };
        let blocks = (0..config.depth).map(block).collect::<Result<_>>()?;
        Ok(Self { width, blocks })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        self.blocks.iter().try_fold(map.clone(), |map, block| {
            let block = Arc::clone(block);
            cx.block(&map, move |map| block.forward(map))
        })
    }
}
