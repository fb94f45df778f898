//! Base models.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::component::{Features, Tokens};
use crate::{Context, Params, Result, Tensor};

/// A base model: images in, features out.
pub trait Backbone: Send + Sized + 'static {
    /// Its configuration section; unknown keys are refused if it denies them (`deny_unknown_fields`).
    type Config: DeserializeOwned + JsonSchema;

    /// Builds the model; parameters carry timm's names (torchvision's for ResNet).
    fn new(config: Self::Config, setup: &BackboneSetup, params: &Params<'_>) -> Result<Self>;

    /// What it can do beyond encoding plain images, whatever its configuration.
    fn capabilities() -> Vec<Capability>;

    /// Widths and strides.
    fn spec(&self) -> BackboneSpec;

    /// Sets the rate of stochastic depth of each block; the host computes the ramp over base and head.
    fn set_drop_path(&mut self, rates: &[f64]);

    /// Fits a loaded weight to the shape that this model has for it, if that makes sense: positions
    /// of another grid are resized, a filter bank is not.
    fn adapt_weight(&self, name: &str, weight: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
        let _ = (name, weight, shape);
        Ok(None)
    }

    /// `images` (B, 3, H, W), normalised.
    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features>;

    /// With [`Capability::DropTokens`]: the tokens of some patches of `images` alone. The others are dropped
    /// as soon as all have their positions. `kept` (B, K), i64, are positions in the map, row by row.
    fn forward_kept(
        &self,
        cx: &Context<'_>,
        images: &Tensor,
        kept: &Tensor,
        request: &KeptRequest,
    ) -> Result<Tokens> {
        let _ = (cx, images, kept, request);
        refuse!("this backbone cannot {}", Capability::DropTokens.phrase())
    }

    /// With [`Capability::DropTokens`]: the final norm of tokens (B, N, C), such as a mixture of
    /// [`Tokens::layers`].
    fn norm(&self, tokens: &Tensor) -> Result<Tensor> {
        let _ = tokens;
        refuse!("this backbone cannot {}", Capability::DropTokens.phrase())
    }
}

/// What the host wants of a backbone that it builds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackboneSetup {
    /// Make the learned vector that masked patches are replaced by.
    #[serde(default)]
    pub mask_token: bool,
}

/// What a backbone can do beyond encoding plain images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Replaces masked patches by a learned token.
    MaskReplace,
    /// Encodes a subset of the patches alone ([`Backbone::forward_kept`], [`Backbone::norm`]).
    DropTokens,
    /// Returns the last block's attention.
    Attention,
    /// Takes images of any size (a multiple of its stride).
    AnySize,
    /// Has a class token apart from its map.
    ClassToken,
    /// Returns intermediate layers.
    Layers,
    /// Returns a pyramid of stages.
    Stages,
}

impl Capability {
    /// Completes "a backbone that can ...".
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::MaskReplace => "replace masked patches by a token",
            Self::DropTokens => "encode a subset of the patches",
            Self::Attention => "return its attention",
            Self::AnySize => "take images of any size",
            Self::ClassToken => "keep a class token apart from its map",
            Self::Layers => "return intermediate layers",
            Self::Stages => "return a pyramid of stages",
        }
    }
}

/// One resolution of a backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSpec {
    /// Pixels per cell.
    pub stride: usize,
    /// Channels.
    pub width: usize,
}

/// What the host has to know of a backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackboneSpec {
    /// Channels of the image-level vector and the last map.
    pub width: usize,
    /// Residual blocks that stochastic depth counts.
    pub blocks: usize,
    /// Resolutions, finest first; the last is the output map's.
    pub stages: Vec<StageSpec>,
    /// Image size that it is built for.
    pub image_size: usize,
}

/// What is asked of a forward pass beside the features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Whether layers behave as in training (batch statistics, stochastic depth).
    #[serde(default)]
    pub training: bool,
    /// Positions to overwrite by the mask token: u8 (B, H*W), 1 = masked.
    #[serde(skip)]
    pub mask: Option<MaskTensor>,
    /// Return the last block's attention.
    #[serde(default)]
    pub attention: bool,
    /// Return the image-level output of the last `layers` blocks (0: none).
    #[serde(default)]
    pub layers: usize,
    /// Leave out the final norm of those layers: whoever asks has one of his own for each.
    #[serde(default)]
    pub layers_before_norm: bool,
    /// Return the stage pyramid.
    #[serde(default)]
    pub stages: bool,
}

impl Request {
    /// A layer's output under the final norm, or as it is, whichever was asked for.
    pub fn layer(
        &self,
        x: &Tensor,
        norm: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.layers_before_norm { Ok(x.clone()) } else { norm(x) }
    }
}

/// What is asked of [`Backbone::forward_kept`] beside the tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRequest {
    /// Whether layers behave as in training.
    #[serde(default)]
    pub training: bool,
    /// Blocks, counted from 0, whose output is wanted as well, in this order.
    #[serde(default)]
    pub layers: Vec<usize>,
}

/// A mask; compared by identity, so that [`Request`] stays comparable.
#[derive(Clone, Debug)]
pub struct MaskTensor(pub Tensor);

impl PartialEq for MaskTensor {
    fn eq(&self, other: &Self) -> bool {
        self.0.handle() == other.0.handle()
    }
}
