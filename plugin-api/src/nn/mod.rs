//! Layers: parameters under PyTorch's names and a `forward`. Maps are channels-last (B, H, W, C).

mod attention;
mod conv;
mod drop_path;
mod linear;
mod mlp;
mod norm;
mod projection;

pub use attention::Attention;
pub use conv::{Conv2d, ConvConfig};
pub use drop_path::DropPath;
pub use linear::{Linear, LinearInit};
pub use mlp::Mlp;
pub use norm::{BatchNorm, GroupNorm, LayerNorm};
pub use projection::WeightNormLinear;
