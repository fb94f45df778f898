//! Layers: parameters under PyTorch's names and a `forward`. Maps are channels-last (B, H, W, C).

mod attention;
mod batch_norm_mlp;
mod conv;
mod linear;
mod mlp;
mod norm;
mod projection;
mod shortcut;

pub use attention::Attention;
pub use batch_norm_mlp::{BatchNormMlp, BatchNormMlpConfig};
pub use conv::{Conv2d, ConvConfig};
pub use linear::{Linear, LinearInit};
pub use mlp::Mlp;
pub use norm::{BatchNorm, GroupNorm, LayerNorm};
pub use projection::WeightNormLinear;
pub use shortcut::{DropPath, Shortcut};
