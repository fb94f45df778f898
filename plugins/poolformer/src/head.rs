//! A stack of PoolFormer blocks on the base's last map.

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::nn::Blocks;
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::block::{Block, BlockConfig, Pooling};

/// Options of the `poolformer` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// Side of the pooling's window, odd.
    #[serde(default = "three")]
    pub pool_size: usize,
    /// Subtract the mixer's input from the pooled map, as PoolFormer does to make up for its shortcut.
    /// In block 0, whose shortcut is removed, this keeps only how a position differs from its
    /// neighbours.
    #[serde(default = "yes")]
    pub pool_minus_x: bool,
    /// Which shortcuts of block 0 are removed: the token mixer's (`first`), the MLP's too (`both`), or
    /// none. Without a token mixer the MLP's is the first.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep the pooling.
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
fn yes() -> bool {
    true
}

/// PoolFormer blocks at constant width and resolution.
pub struct PoolFormerHead {
    width: usize,
    blocks: Blocks<Block>,
}

impl Head for PoolFormerHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        if config.depth == 0 {
            refuse!("poolformer head: depth 0; expected at least 1");
        }
        if !config.token_mixer && !config.mlp {
            refuse!("poolformer head: token_mixer and mlp are both off; keep one");
        }
        let pooling = Pooling::new("poolformer head", config.pool_size, config.pool_minus_x)?;
        let blocks = Blocks::new(config.depth, |i| {
            let block = BlockConfig {
                width: input.width,
                layer_scale: config.layer_scale,
                shortcuts: config.first_shortcut.keeps(i, config.token_mixer),
                pooling: config.token_mixer.then_some(pooling),
                mlp: config.mlp,
            };
            Block::new(&block, &params.pp("blocks").pp(i))
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
