//! Layers: parameters under PyTorch's names and a `forward`. Maps are channels-last (B, H, W, C).

mod attention;
mod batch_norm_mlp;
mod blocks;
mod conv;
mod linear;
mod mlp;
mod norm;
mod positions;
mod projection;
mod pyramid;
mod residual;
mod scale;
mod shortcut;
mod transformer;

pub use attention::Attention;
pub use batch_norm_mlp::{BatchNormMlp, BatchNormMlpConfig};
pub use blocks::{Block, Blocks};
pub use conv::{Conv2d, ConvConfig};
pub use linear::{Linear, LinearInit};
pub use mlp::Mlp;
pub use norm::{BatchNorm, GroupNorm, LayerNorm};
pub use positions::{FirstAxis, sin_cos_positions};
pub use projection::WeightNormLinear;
pub use pyramid::{Pyramid, PyramidOutput};
pub use residual::Residual;
pub use scale::LayerScale;
pub use shortcut::{DropPath, Shortcut};
pub use transformer::{BlockPart, TransformerBlock, TransformerBlockConfig};
