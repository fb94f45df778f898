//! An auxiliary head: residual MLPs on the base's last map. Replace the block by your architecture's.

use hssl_plugin_api::component::{HeadInput, HeadSpec};
use hssl_plugin_api::nn::{DropPath, LayerNorm, Mlp};
use hssl_plugin_api::{Context, Head, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "my_plugin",
    head "my_plugin": MyPlugin, "Residual MLPs";
}

/// Options: the keys of `[heads.NAME]` in a configuration. Their descriptions are shown to users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Blocks.
    depth: usize,
    /// Whether the first block adds its input to its output.
    first_shortcut: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { depth: 1, first_shortcut: true }
    }
}

/// x + MLP(norm(x)) at each position.
#[derive(Debug)]
struct Block {
    norm: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
    shortcut: bool,
}

/// The head.
#[derive(Debug)]
pub struct MyPlugin {
    blocks: Vec<Block>,
    width: usize,
}

impl Head for MyPlugin {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let block = |i: usize| {
            let params = params.pp("blocks").pp(i);
            Ok(Block {
                norm: LayerNorm::new(input.width, 1e-6, &params.pp("norm"))?,
                mlp: Mlp::new(input.width, 4 * input.width, &params.pp("mlp"))?,
                drop_path: DropPath::default(),
                shortcut: i > 0 || config.first_shortcut,
            })
        };
        let blocks = (0..config.depth).map(block).collect::<Result<_>>()?;
        Ok(Self { blocks, width: input.width })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            block.drop_path = DropPath::new(*rate);
        }
    }

    /// (B, H, W, C) to (B, H, W, C). The host pools and normalises what comes out.
    fn forward(&self, _cx: &Context<'_>, map: &Tensor, _training: bool) -> Result<Tensor> {
        let mut x = map.clone();
        for block in &self.blocks {
            let y = block.mlp.forward(&block.norm.forward(&x)?)?;
            x = if block.shortcut { block.drop_path.add(&x, &y)? } else { y };
        }
        Ok(x)
    }
}
