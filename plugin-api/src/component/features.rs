//! What a backbone or head makes of images.

use crate::wire::Envelope;
use crate::{Result, Tensor};

/// The output of a network branch.
#[derive(Clone, Debug)]
pub struct Features {
    /// Image-level vector (B, C) after the final norm: the class token's output or a pooled map.
    pub image: Tensor,
    /// Patch-level map (B, H, W, C) after the final norm.
    pub map: Tensor,
    /// The map (B, H, W, C) before the final norm: what auxiliary heads take.
    pub pre_norm: Option<Tensor>,
    /// Attention of the last block (B, heads, N, N), if it was asked for.
    pub attention: Option<Tensor>,
    /// Intermediate outputs that were asked for, first to last: image-level vectors (B, C), C being the
    /// width of the stage that the block belongs to.
    pub layers: Vec<Tensor>,
    /// Stage outputs that were asked for, finest first: maps (B, H, W, C).
    pub stages: Vec<Tensor>,
}

impl Features {
    /// Image-level vector and map; nothing else.
    pub fn new(image: Tensor, map: Tensor) -> Self {
        Self { image, map, pre_norm: None, attention: None, layers: Vec::new(), stages: Vec::new() }
    }

    /// As named tensors.
    pub fn to_envelope(&self) -> Envelope {
        self.put("", Envelope::default())
    }

    /// Adds the tensors under a prefix.
    pub fn put(&self, prefix: &str, envelope: Envelope) -> Envelope {
        let mut envelope = envelope
            .with(format!("{prefix}image"), &self.image)
            .with(format!("{prefix}map"), &self.map)
            .with_some(&format!("{prefix}pre_norm"), self.pre_norm.as_ref())
            .with_some(&format!("{prefix}attention"), self.attention.as_ref());
        for (kind, tensors) in [("layer", &self.layers), ("stage", &self.stages)] {
            for (index, tensor) in tensors.iter().enumerate() {
                envelope.push(format!("{prefix}{kind}.{index}"), tensor.clone());
            }
        }
        envelope
    }

    /// From named tensors.
    pub fn from_envelope(envelope: &Envelope, prefix: &str) -> Result<Self> {
        let list = |kind: &str| {
            (0..).map_while(|i| envelope.find(&format!("{prefix}{kind}.{i}"))).collect()
        };
        Ok(Self {
            image: envelope.tensor(&format!("{prefix}image"))?,
            map: envelope.tensor(&format!("{prefix}map"))?,
            pre_norm: envelope.find(&format!("{prefix}pre_norm")),
            attention: envelope.find(&format!("{prefix}attention")),
            layers: list("layer"),
            stages: list("stage"),
        })
    }
}

/// What a backbone makes of some of the patches alone. Tokens are (B, P + K, C): the class token, where there
/// is one (P = 1), and the K patches in the order in which they were asked for; registers and other tokens
/// of the network's own are left out.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// After the final norm.
    pub normed: Tensor,
    /// Before it.
    pub pre_norm: Tensor,
    /// Behind the blocks that were asked for, before the final norm.
    pub layers: Vec<Tensor>,
}

impl Tokens {
    /// As named tensors.
    pub fn to_envelope(&self) -> Envelope {
        let mut envelope =
            Envelope::default().with("normed", &self.normed).with("pre_norm", &self.pre_norm);
        for (index, layer) in self.layers.iter().enumerate() {
            envelope.push(format!("layer.{index}"), layer.clone());
        }
        envelope
    }

    /// From named tensors.
    pub fn from_envelope(envelope: &Envelope) -> Result<Self> {
        Ok(Self {
            normed: envelope.tensor("normed")?,
            pre_norm: envelope.tensor("pre_norm")?,
            layers: (0..).map_while(|i| envelope.find(&format!("layer.{i}"))).collect(),
        })
    }
}
