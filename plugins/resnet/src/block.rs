//! The residual block.

use std::sync::Arc;

use hssl_plugin_api::nn::{BatchNorm, Conv2d, ConvConfig, Shortcut};
use hssl_plugin_api::{Context, Init, Params, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Convolution without bias, then batch norm.
#[derive(Clone)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    /// The map's sides are divided by `stride`. He's initialisation by the fan out; the norm's weight
    /// starts at `weight`.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
        weight: Init,
        [conv, norm]: [&Params<'_>; 2],
    ) -> Result<Self> {
        let config =
            ConvConfig { stride, padding: kernel / 2, bias: false, ..ConvConfig::new(kernel) };
        let init = Init::kaiming_fan_out(outputs * kernel * kernel);
        Ok(Self {
            conv: Conv2d::with_init(inputs, outputs, config, init, Init::ZEROS, conv)?,
            norm: BatchNorm::with_weight(outputs, weight, norm)?,
        })
    }

    /// (B, H, W, I) to (B, H', W', O).
    pub fn forward(&self, cx: &Context<'_>, x: &Tensor, training: bool) -> Result<Tensor> {
        self.norm.forward(cx, &self.conv.forward(x)?, training)
    }

    fn normalise(&self, x: &Tensor, training: bool, moved: &mut Vec<Tensor>) -> Result<Tensor> {
        self.norm.normalise(&self.conv.forward(x)?, training, moved)
    }
}

/// What a block consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Two k x k convolutions.
    Basic,
    /// 1x1 to a narrower map, k x k, 1x1 back.
    Bottleneck,
}

impl BlockKind {
    /// Channels of a stage's maps over those of its k x k convolutions.
    pub fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Basic or bottleneck.
    pub kind: BlockKind,
    /// Channels that come in.
    pub inputs: usize,
    /// Channels between the convolutions.
    pub hidden: usize,
    /// Channels that go out.
    pub outputs: usize,
    /// Side of the k x k kernels.
    pub kernel: usize,
    /// What the map's sides are divided by.
    pub stride: usize,
    /// Whether the block keeps its shortcut.
    pub shortcut: bool,
    /// Whether the last norm's weight starts at 0, so that the block starts as its shortcut.
    pub zero_init_last: bool,
}

/// ReLU(x + F(x)), or ReLU(F(x)) where the shortcut was removed; x is projected where its sizes change.
#[derive(Clone)]
pub struct Block {
    layers: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
    shortcut: Shortcut,
}

impl Block {
    /// `conv1`, `bn1`, ..; `downsample.0` and `downsample.1` if the shortcut needs a projection.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { inputs, hidden, outputs, kernel, stride, .. } = *config;
        let shapes = match config.kind {
            BlockKind::Basic => {
                vec![([inputs, hidden], kernel, stride), ([hidden, outputs], kernel, 1)]
            }
            BlockKind::Bottleneck => vec![
                ([inputs, hidden], 1, 1),
                ([hidden, hidden], kernel, stride),
                ([hidden, outputs], 1, 1),
            ],
        };
        let last = shapes.len();
        let layer = |(i, (channels, kernel, stride))| {
            let weight = if config.zero_init_last && i == last { Init::ZEROS } else { Init::ONES };
            let scopes = [&params.pp(format!("conv{i}")), &params.pp(format!("bn{i}"))];
            ConvNorm::new(channels, kernel, stride, weight, scopes)
        };
        let downsample = || {
            let scope = params.pp("downsample");
            ConvNorm::new([inputs, outputs], 1, stride, Init::ONES, [&scope.pp(0), &scope.pp(1)])
        };
        let projected = config.shortcut && (inputs != outputs || stride != 1);
        Ok(Self {
            layers: (1..).zip(shapes).map(layer).collect::<Result<_>>()?,
            downsample: projected.then(downsample).transpose()?,
            shortcut: Shortcut::new(config.shortcut),
        })
    }

    /// Rate of stochastic depth.
    pub fn set_drop_path(&mut self, rate: f64) {
        self.shortcut.set_drop_path(rate);
    }

    /// (B, H, W, I) to (B, H', W', O). Running statistics move once, however often the host runs it.
    pub fn forward(
        self: &Arc<Self>,
        cx: &Context<'_>,
        x: &Tensor,
        training: bool,
    ) -> Result<Tensor> {
        let block = Arc::clone(self);
        let mut outputs = cx.checkpoint(&[x], move |inputs| block.outputs(&inputs[0], training))?;
        let moved = outputs.split_off(1);
        for (layer, moved) in self.layers.iter().chain(&self.downsample).zip(moved.chunks(2)) {
            layer.norm.keep(cx, moved)?;
        }
        Ok(outputs.remove(0))
    }

    /// The map, and in training the statistics that the norms move to, in the order of the layers.
    fn outputs(&self, x: &Tensor, training: bool) -> Result<Vec<Tensor>> {
        let mut moved = Vec::new();
        let mut y = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let input = if i == 0 { y } else { y.relu()? };
            y = layer.normalise(&input, training, &mut moved)?;
        }
        let x = match &self.downsample {
            Some(layer) => layer.normalise(x, training, &mut moved)?,
            None => x.clone(),
        };
        let y = self.shortcut.join(&x, y)?.relu()?;
        Ok(std::iter::once(y).chain(moved).collect())
    }
}
