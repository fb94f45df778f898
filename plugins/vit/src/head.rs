//! A stack of transformer blocks on the base's last map.

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::nn::{BlockPart, Blocks, TransformerBlock, TransformerBlockConfig};
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::WeightInit;

/// Options of the `vit` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// Attention heads; must divide the width. One for each 64 channels if not given.
    pub num_heads: Option<usize>,
    /// Hidden width of the MLP over the width.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Which shortcuts of block 0 are removed: around attention (`first`), around both parts, or none.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep attention.
    #[serde(default = "yes")]
    pub token_mixer: bool,
    /// Keep the MLP.
    #[serde(default = "yes")]
    pub mlp: bool,
    /// First value of layer scales; 0, the default, leaves them out, because a small one would
    /// keep a branch without its shortcut numerically dead.
    #[serde(default)]
    pub layer_scale: f64,
    /// How weights start.
    #[serde(default)]
    pub weight_init: WeightInit,
}

fn three() -> usize {
    3
}
fn four() -> f64 {
    4.0
}
fn yes() -> bool {
    true
}

impl Config {
    /// Parts and sizes of block `i`, for maps of `width` channels.
    fn block(&self, i: usize, width: usize) -> Result<TransformerBlockConfig> {
        let heads = self.num_heads.unwrap_or((width / 64).max(1));
        if heads == 0 || !width.is_multiple_of(heads) {
            let how = if self.num_heads.is_some() { "" } else { " (one for each 64 channels)" };
            refuse!(
                "vit head: num_heads {heads}{how}; expected a number that divides the width {width}"
            );
        }
        let hidden = (width as f64 * self.mlp_ratio) as usize;
        if hidden == 0 {
            let ratio = self.mlp_ratio;
            refuse!("vit head: mlp_ratio {ratio} of the width {width}; expected 1 channel or more");
        }
        // The first shortcut is attention's, or the only one.
        let first = BlockPart::with_shortcut(self.first_shortcut.keeps_first(i));
        let second = BlockPart::with_shortcut(self.first_shortcut.keeps_second(i));
        let (attention, mlp) = match (self.token_mixer, self.mlp) {
            (true, true) => (first, second),
            (true, false) => (first, BlockPart::Absent),
            (false, true) => (BlockPart::Absent, first),
            (false, false) => refuse!("vit head: token_mixer and mlp are both off; keep one"),
        };
        let (layer_scale, init) = (self.layer_scale, self.weight_init.linear());
        Ok(TransformerBlockConfig { width, heads, hidden, layer_scale, init, attention, mlp })
    }
}

/// Transformer blocks on a map's positions as tokens, without class token or positions of their own.
pub struct VisionTransformerHead {
    width: usize,
    blocks: Blocks<TransformerBlock>,
}

impl Head for VisionTransformerHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        if config.depth == 0 {
            refuse!("vit head: depth 0; expected at least 1");
        }
        let blocks = params.pp("blocks");
        let block = |i: usize| TransformerBlock::new(&config.block(i, input.width)?, &blocks.pp(i));
        Ok(Self { width: input.width, blocks: Blocks::new(config.depth, block)? })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.blocks.set_drop_path(rates);
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        let (b, h, w, c) = map.dims4()?;
        let tokens = self.blocks.forward(cx, &map.reshape((b, h * w, c))?)?;
        tokens.reshape((b, h, w, c))
    }
}
