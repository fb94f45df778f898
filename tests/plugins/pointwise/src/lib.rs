//! A head of pointwise mixing: x + MLP(norm(x)), without the shortcut in its first block.

use hssl_plugin_api::component::{HeadInput, HeadSpec};
use hssl_plugin_api::nn::{DropPath, LayerNorm, Mlp};
use hssl_plugin_api::{Context, Head, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "pointwise",
    head "pointwise": Pointwise, "Blocks of norm and MLP at each position";
}

/// Options of the `pointwise` head.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Number of blocks.
    depth: usize,
    /// Hidden width over the width.
    mlp_ratio: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { depth: 1, mlp_ratio: 4 }
    }
}

struct Block {
    norm: LayerNorm,
    mlp: Mlp,
    drop_path: DropPath,
}

/// The head.
pub struct Pointwise {
    width: usize,
    blocks: Vec<Block>,
}

impl Head for Pointwise {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        let width = input.width;
        if config.depth == 0 {
            refuse!("pointwise: depth 0; expected at least 1");
        }
        let block = |i: usize| {
            let params = params.pp("blocks").pp(i);
            Ok(Block {
                norm: LayerNorm::new(width, 1e-6, &params.pp("norm"))?,
                mlp: Mlp::new(width, width * config.mlp_ratio, &params.pp("mlp"))?,
                drop_path: DropPath::default(),
            })
        };
        Ok(Self { width, blocks: (0..config.depth).map(block).collect::<Result<_>>()? })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            block.drop_path = DropPath::new(*rate);
        }
    }

    /// (B, H, W, C) to (B, H, W, C).
    fn forward(&self, _: &Context<'_>, map: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = map.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let y = block.mlp.forward(&block.norm.forward(&x)?)?;
            x = if i == 0 { y } else { block.drop_path.add(&x, &y)? };
        }
        Ok(x)
    }
}
