//! A stack of residual blocks on the base's last map.

use std::sync::Arc;

use hssl_plugin_api::component::{FirstShortcut, Head, HeadInput, HeadSpec};
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::block::{Block, BlockConfig, BlockKind, ConvNorm};

/// Options of the `resnet` head.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Number of blocks.
    #[serde(default = "three")]
    pub depth: usize,
    /// Kind of the blocks: `bottleneck` narrows the map between its 1x1 convolutions, `basic` has two
    /// k x k convolutions at full width.
    #[serde(default = "bottleneck")]
    pub block: BlockKind,
    /// Width over the width inside a bottleneck (4); must divide the width.
    pub reduction: Option<usize>,
    /// Side of the k x k kernels, odd.
    #[serde(default = "three")]
    pub kernel_size: usize,
    /// Channels of the head's maps, to which a 1x1 convolution with batch norm and ReLU brings the
    /// base's map first; the base's width, and no such convolution, if not given.
    pub width: Option<usize>,
    /// Which shortcuts of block 0 are removed. There is one per block: `first` and `both` agree.
    #[serde(default)]
    pub first_shortcut: FirstShortcut,
}

fn three() -> usize {
    3
}
fn bottleneck() -> BlockKind {
    BlockKind::Bottleneck
}

impl Config {
    /// Channels between the convolutions of a block, for maps of `width` channels.
    fn hidden(&self, width: usize) -> Result<usize> {
        match (self.block, self.reduction) {
            (BlockKind::Basic, None) => Ok(width),
            (BlockKind::Basic, Some(reduction)) => refuse!(
                "resnet head: reduction {reduction} with basic blocks, which have one width; leave it \
                 out, or set block = \"bottleneck\""
            ),
            (BlockKind::Bottleneck, reduction) => {
                let reduction = reduction.unwrap_or(BlockKind::Bottleneck.expansion());
                if reduction == 0 || !width.is_multiple_of(reduction) {
                    refuse!(
                        "resnet head: reduction {reduction}; expected a number that divides the \
                         width {width}"
                    );
                }
                Ok(width / reduction)
            }
        }
    }
}

/// Residual blocks at constant width and resolution.
pub struct ResNetHead {
    width: usize,
    reduce: Option<ConvNorm>,
    blocks: Vec<Arc<Block>>,
}

impl Head for ResNetHead {
    type Config = Config;

    fn new(config: Config, input: &HeadInput, params: &Params<'_>) -> Result<Self> {
        if config.depth == 0 {
            refuse!("resnet head: depth 0; expected at least 1");
        }
        if config.kernel_size.is_multiple_of(2) {
            refuse!("resnet head: kernel_size {}; expected an odd number", config.kernel_size);
        }
        if config.width == Some(0) {
            refuse!("resnet head: width 0; expected at least 1");
        }
        let width = config.width.unwrap_or(input.width);
        let hidden = config.hidden(width)?;
        let reduce = || {
            let scope = params.pp("reduce");
            ConvNorm::new([input.width, width], 1, 1, Init::ONES, [&scope.pp(0), &scope.pp(1)])
        };
        let reduce = config.width.map(|_| reduce()).transpose()?;
        let blocks = params.pp("blocks");
        let block = |i: usize| {
            let block = BlockConfig {
                kind: config.block,
                inputs: width,
                hidden,
                outputs: width,
                kernel: config.kernel_size,
                stride: 1,
                shortcut: config.first_shortcut.keeps_first(i),
                // Behind ReLU a block without its shortcut would stay at 0 for ever.
                zero_init_last: false,
            };
            Block::new(&block, &blocks.pp(i)).map(Arc::new)
        };
        let blocks = (0..config.depth).map(block).collect::<Result<_>>()?;
        Ok(Self { width, reduce, blocks })
    }

    fn spec(&self) -> HeadSpec {
        HeadSpec { width: self.width, blocks: self.blocks.len(), fixed_grid: false }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.blocks.iter_mut().zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    fn forward(&self, cx: &Context<'_>, map: &Tensor, training: bool) -> Result<Tensor> {
        let map = match &self.reduce {
            Some(reduce) => reduce.forward(cx, map, training)?.relu()?,
            None => map.clone(),
        };
        self.blocks.iter().try_fold(map, |map, block| block.forward(cx, &map, training))
    }
}
