//! The MLPs of the blocks.

use hssl_plugin_api::nn::{Conv2d, ConvConfig, Linear, Mlp};
use hssl_plugin_api::{Params, Result, Tensor};

use crate::embed::ConvInit;

/// Which MLP a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpKind {
    /// `fc1`, GELU, `fc2`.
    Plain,
    /// `fc1`, a depthwise 3 x 3 convolution `dwconv`, GELU, `fc2`: the zeros around the map tell positions
    /// apart.
    Convolutional,
}

/// An MLP of either kind.
#[derive(Clone)]
pub enum BlockMlp {
    /// Position by position.
    Plain(Mlp),
    /// With a look at the neighbours.
    Convolutional { fc1: Linear, dwconv: Conv2d, fc2: Linear },
}

impl BlockMlp {
    /// C to `hidden` to C.
    pub fn new(kind: MlpKind, width: usize, hidden: usize, params: &Params<'_>) -> Result<Self> {
        match kind {
            MlpKind::Plain => Mlp::new(width, hidden, params).map(Self::Plain),
            MlpKind::Convolutional => {
                let depthwise = ConvConfig::depthwise(3, hidden);
                Ok(Self::Convolutional {
                    fc1: Linear::new(width, hidden, &params.pp("fc1"))?,
                    dwconv: ConvInit::FanOut.conv(
                        hidden,
                        hidden,
                        depthwise,
                        &params.pp("dwconv"),
                    )?,
                    fc2: Linear::new(hidden, width, &params.pp("fc2"))?,
                })
            }
        }
    }

    /// Positions (B, N, C) of a grid to (B, N, C).
    pub fn forward(&self, x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
        match self {
            Self::Plain(mlp) => mlp.forward(x),
            Self::Convolutional { fc1, dwconv, fc2 } => {
                let (b, _, c) = x.dims3()?;
                let map = fc1.forward(&x.reshape((b, rows, columns, c))?)?;
                fc2.forward(&dwconv.forward(&map)?.gelu()?)?.flatten(1, 2)
            }
        }
    }
}
