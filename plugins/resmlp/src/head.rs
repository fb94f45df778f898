//! A stack of ResMLP blocks on the base's last map.

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::nn::Blocks;
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::block::{Block, BlockConfig};

/// What becomes of maps of another grid than that of global crops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherGrids {
    /// The head is for global crops; other maps are refused.
    #[default]
    GlobalOnly,
    /// Each token mixer resizes them to its own grid, bilinearly, and what comes out of it back.
    Resize,
}

/// Options of the `resmlp` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// What becomes of maps of another grid than that of global crops, such as those of smaller local
    /// crops: the dense layer over positions has a weight for each pair of them.
    #[serde(default)]
    pub other_grids: OtherGrids,
    /// Hidden width of the MLP over the width.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    /// Which shortcuts of block 0 are removed: the token mixer's (`first`), the MLP's too (`both`), or
    /// none. Without a token mixer the MLP's is the first.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
    /// Keep the dense layer over positions.
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
fn yes() -> bool {
    true
}

/// ResMLP blocks at constant width and resolution.
pub struct ResMlpHead {
    input: HeadInput,
    /// Whether maps of another grid are refused.
    fixed_grid: bool,
    blocks: Blocks<Block>,
}

impl Head for ResMlpHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        if config.depth == 0 {
            refuse!("resmlp head: depth 0; expected at least 1");
        }
        if !config.token_mixer && !config.mlp {
            refuse!("resmlp head: token_mixer and mlp are both off; keep one");
        }
        let hidden = (input.width as f64 * config.mlp_ratio) as usize;
        if hidden == 0 {
            refuse!("resmlp head: mlp_ratio {}; expected a number above 0", config.mlp_ratio);
        }
        let blocks = Blocks::new(config.depth, |i| {
            let block = BlockConfig {
                width: input.width,
                hidden,
                grid: input.grid,
                layer_scale: config.layer_scale,
                shortcuts: config.first_shortcut.keeps(i, config.token_mixer),
                token_mixer: config.token_mixer,
                mlp: config.mlp,
            };
            Block::new(&block, &params.pp("blocks").pp(i))
        })?;
        let fixed_grid = config.token_mixer && config.other_grids == OtherGrids::GlobalOnly;
        Ok(Self { input: input.clone(), fixed_grid, blocks })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.input.width, blocks: self.blocks.len(), fixed_grid: self.fixed_grid }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        self.blocks.set_drop_path(rates);
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        let (_, rows, columns, _) = map.dims4()?;
        if self.fixed_grid && [rows, columns] != self.input.grid {
            let [built_rows, built_columns] = self.input.grid;
            refuse!(
                "resmlp head: a map of {rows} x {columns}; expected {built_rows} x {built_columns}, the \
                 grid of global crops that its token mixer is made for: set other_grids = \"resize\", or \
                 views.local_crops_number = 0"
            );
        }
        self.blocks.forward(cx, map)
    }
}
