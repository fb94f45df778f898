//! From what a branch knows of a patch to what the teacher makes of it.

use super::BASE;
use super::decoder::linear;
use crate::component::Edge;
use crate::nn::Linear;
use crate::{Params, Result, Tensor};

/// Whether an edge asks for the teacher's features: every one but the plain method's.
pub(super) fn needs_features(edge: &Edge) -> bool {
    edge.teacher != BASE || edge.student != BASE
}

/// Predicts a teacher's branch from a branch of the student.
#[derive(Debug)]
pub(super) enum FeaturePredictor {
    /// A second output of the decoder.
    Decoder(Linear),
    /// Two dense layers with GELU between.
    Head { fc1: Linear, fc2: Linear },
}

impl FeaturePredictor {
    /// From the decoder's last channels.
    pub fn of_decoder(width: usize, outputs: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self::Decoder(linear(width, outputs, params)?))
    }

    /// From a head's tokens.
    pub fn of_head(width: usize, outputs: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self::Head {
            fc1: linear(width, width, &params.pp("fc1"))?,
            fc2: linear(width, outputs, &params.pp("fc2"))?,
        })
    }

    /// (B, N, C) to (B, N, C of the teacher's branch).
    pub fn forward(&self, known: &Tensor) -> Result<Tensor> {
        match self {
            Self::Decoder(layer) => layer.forward(known),
            Self::Head { fc1, fc2 } => fc2.forward(&fc1.forward(known)?.gelu()?),
        }
    }
}
