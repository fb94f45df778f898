//! A stack of PVT blocks on the base's last map.

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::block::{BlockConfig, Blocks};
use crate::embed::ConvInit;
use crate::mlp::MlpKind;

/// Options of the `pvt` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// Attention heads; must divide the width. One for each 64 channels by default, at least one.
    pub num_heads: Option<usize>,
    /// Hidden width of the MLP over the width.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Side of the squares of positions that attention's keys and values are reduced from; 1 does not
    /// reduce. What they leave over at the right and the bottom of a map is not attended to; the maps of
    /// local crops must have room for one.
    #[serde(default = "one")]
    pub sr_ratio: usize,
    /// Which shortcuts of block 0 are removed. Where the attention or the MLP is switched off, there is
    /// one per block: `first` and `both` agree.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep the attention.
    #[serde(default = "yes")]
    pub token_mixer: bool,
    /// Keep the MLP.
    #[serde(default = "yes")]
    pub mlp: bool,
    /// First value of layer scales; 0, the default, leaves them out, because a small one would
    /// keep a branch without its shortcut numerically dead.
    #[serde(default)]
    pub layer_scale: f64,
}

fn three() -> usize {
    3
}
fn four() -> f64 {
    4.0
}
fn one() -> usize {
    1
}
fn yes() -> bool {
    true
}

/// Channels of one attention head, unless `num_heads` says otherwise.
const HEAD_DIM: usize = 64;

/// PVT blocks at constant width and resolution.
pub struct PvtHead {
    width: usize,
    blocks: Blocks,
}

impl Head for PvtHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let width = input.width;
        let heads = config.num_heads.unwrap_or((width / HEAD_DIM).max(1));
        let hidden = (width as f64 * config.mlp_ratio) as usize;
        let [rows, columns] = input.grid;
        if config.depth == 0 {
            refuse!("pvt head: depth 0; expected at least 1");
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse!(
                "pvt head: {heads} heads do not divide the base's width {width}; set num_heads"
            );
        }
        if hidden == 0 {
            refuse!("pvt head: mlp_ratio {}; expected a number above 0", config.mlp_ratio);
        }
        if config.sr_ratio == 0 || config.sr_ratio > rows.min(columns) {
            refuse!(
                "pvt head: sr_ratio {} on a map of {rows} x {columns} positions; expected 1 to {}",
                config.sr_ratio,
                rows.min(columns)
            );
        }
        if !config.token_mixer && !config.mlp {
            refuse!("pvt head: token_mixer and mlp are both off; keep one");
        }
        let block = |i| {
            let first = config.first_shortcut.keeps_first(i);
            let second = config.first_shortcut.keeps_second(i);
            BlockConfig {
                width,
                heads,
                hidden,
                reduction: config.sr_ratio,
                token_mixer: config.token_mixer,
                mlp: config.mlp.then_some(MlpKind::Plain),
                conv_init: ConvInit::FanIn,
                layer_scale: config.layer_scale,
                shortcuts: [first, if config.token_mixer { second } else { first }],
            }
        };
        Ok(Self { width, blocks: Blocks::new(config.depth, block, &params.pp("blocks"))? })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.blocks.set_drop_path(&mut rates.iter());
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        let (b, rows, columns, c) = map.dims4()?;
        let tokens = map.flatten(1, 2)?;
        let out = self.blocks.forward(cx, &tokens, [rows, columns], 0, false)?;
        out.x.reshape((b, rows, columns, c))
    }
}
