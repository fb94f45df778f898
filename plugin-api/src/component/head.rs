//! Auxiliary heads.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Context, Params, Result, Tensor};

/// A stack of blocks of one architecture on the base's last map. The host adds what all heads share:
/// pooling, the final norm, and the supervision graph.
pub trait Head: Send + Sized + 'static {
    /// Its configuration section.
    type Config: DeserializeOwned + JsonSchema;

    /// Builds the head for maps of the given width and grid.
    fn new(config: Self::Config, input: &HeadInput, params: &Params<'_>) -> Result<Self>;

    /// Depth and width.
    fn spec(&self) -> HeadSpec;

    /// Sets the rate of stochastic depth of each block.
    fn set_drop_path(&mut self, rates: &[f64]);

    /// A map (B, H, W, C) of the base, before its final norm, to a map of the same grid.
    fn forward(&self, cx: &Context<'_>, map: &Tensor, training: bool) -> Result<Tensor>;
}

/// What a head is attached to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadInput {
    /// Channels of the base's last map.
    pub width: usize,
    /// Rows and columns of that map for global crops.
    pub grid: [usize; 2],
}

/// What the host has to know of a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadSpec {
    /// Channels of its output map.
    pub width: usize,
    /// Blocks that stochastic depth counts.
    pub blocks: usize,
    /// Whether it takes only maps of the grid that it was built for: crops of another size then have no
    /// terms with this head.
    #[serde(default)]
    pub fixed_grid: bool,
}

/// Which shortcuts of a head's first block are removed: the one around the token mixer would carry the
/// base's features to the head's output unchanged, and the head would learn little of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstShortcut {
    /// The first one: the token mixer's, or the only one of a block that has one.
    #[default]
    First,
    /// Every shortcut of block 0.
    Both,
    /// None is removed.
    None,
}

impl FirstShortcut {
    /// Whether block `block` keeps its first shortcut.
    pub fn keeps_first(self, block: usize) -> bool {
        block > 0 || self == Self::None
    }

    /// Whether block `block` keeps its second shortcut, around the MLP.
    pub fn keeps_second(self, block: usize) -> bool {
        block > 0 || self != Self::Both
    }

    /// Whether block `block` keeps the shortcut around its token mixer, and the one around its MLP,
    /// which is the first where there is no token mixer.
    pub fn keeps(self, block: usize, token_mixer: bool) -> (bool, bool) {
        let first = self.keeps_first(block);
        (first, if token_mixer { self.keeps_second(block) } else { first })
    }
}
