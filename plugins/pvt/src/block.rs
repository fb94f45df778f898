//! The block of both backbones and of the head, and stacks of it.

use std::sync::Arc;

use hssl_plugin_api::nn::{LayerNorm, LayerScale, Residual};
use hssl_plugin_api::{Context, Params, Result, Tensor};

use crate::attention::SpatialReductionAttention;
use crate::config::StageSizes;
use crate::embed::ConvInit;
use crate::mlp::{BlockMlp, MlpKind};

/// Epsilon of the layer norms, but for those after convolutions.
pub const NORM_EPS: f64 = 1e-6;

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Width C.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Spatial reduction R of keys and values.
    pub reduction: usize,
    /// Whether the attention is there.
    pub token_mixer: bool,
    /// Which MLP is there, if any.
    pub mlp: Option<MlpKind>,
    /// How convolutions start.
    pub conv_init: ConvInit,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
    /// Whether the attention and the MLP keep their shortcuts.
    pub shortcuts: [bool; 2],
}

impl BlockConfig {
    /// A backbone's block.
    pub fn of_stage(stage: &StageSizes, mlp: MlpKind, conv_init: ConvInit) -> Self {
        let StageSizes { width, heads, hidden, reduction, .. } = *stage;
        Self {
            width,
            heads,
            hidden,
            reduction,
            token_mixer: true,
            mlp: Some(mlp),
            conv_init,
            layer_scale: 0.0,
            shortcuts: [true; 2],
        }
    }
}

/// x + attention(norm1 x); x + mlp(norm2 x); a head's block may lack parts and shortcuts.
#[derive(Clone)]
pub struct Block {
    attention: Option<Residual<LayerNorm, SpatialReductionAttention>>,
    mlp: Option<Residual<LayerNorm, BlockMlp>>,
}

impl Block {
    /// Linears start truncated normal.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, heads, hidden, reduction, conv_init, .. } = *config;
        let around = |number: usize| -> Result<_> {
            let norm = LayerNorm::new(width, NORM_EPS, &params.pp(format!("norm{number}")))?;
            let scale = params.pp(format!("ls{number}"));
            Ok((norm, LayerScale::new("gamma", width, config.layer_scale, &scale)?))
        };
        let [first, second] = config.shortcuts;
        let attention = || -> Result<_> {
            let (norm, scale) = around(1)?;
            let params = params.pp("attn");
            let layer =
                SpatialReductionAttention::new(width, heads, reduction, conv_init, &params)?;
            Ok(Residual::new(norm, layer, scale, first))
        };
        let mlp = |kind| -> Result<_> {
            let (norm, scale) = around(2)?;
            let layer = BlockMlp::new(kind, width, hidden, &params.pp("mlp"))?;
            Ok(Residual::new(norm, layer, scale, second))
        };
        Ok(Self {
            attention: config.token_mixer.then(attention).transpose()?,
            mlp: config.mlp.map(mlp).transpose()?,
        })
    }

    fn set_drop_path(&mut self, rate: f64) {
        self.attention.iter_mut().for_each(|attention| attention.set_drop_path(rate));
        self.mlp.iter_mut().for_each(|mlp| mlp.set_drop_path(rate));
    }

    fn forward(
        &self,
        x: &Tensor,
        grid: [usize; 2],
        return_weights: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (mut x, mut weights) = (x.clone(), None);
        if let Some(branch) = &self.attention {
            let (y, of_attention) =
                branch.layer.forward(&branch.norm.forward(&x)?, grid, return_weights)?;
            (x, weights) = (branch.join(&x, y)?, of_attention);
        }
        if let Some(branch) = &self.mlp {
            let y = branch.layer.forward(&branch.norm.forward(&x)?, grid)?;
            x = branch.join(&x, y)?;
        }
        Ok((x, weights))
    }
}

/// Blocks one after another.
pub struct Blocks(Vec<Arc<Block>>);

/// What blocks made of their input.
pub struct BlocksOutput {
    /// Positions (B, N, C).
    pub x: Tensor,
    /// Outputs (B, N, C) of the last blocks, as many as were asked for.
    pub layers: Vec<Tensor>,
    /// The last block's attention (B, heads, N, M), if it was asked for.
    pub attention: Option<Tensor>,
}

impl Blocks {
    /// `depth` blocks named by their index; `config` gives each its sizes.
    pub fn new(
        depth: usize,
        config: impl Fn(usize) -> BlockConfig,
        params: &Params<'_>,
    ) -> Result<Self> {
        let block = |i| Block::new(&config(i), &params.pp(i)).map(Arc::new);
        (0..depth).map(block).collect::<Result<_>>().map(Self)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a rate of stochastic depth for each block.
    pub fn set_drop_path<'a>(&mut self, rates: &mut impl Iterator<Item = &'a f64>) {
        // The blocks come first: `zip` would take a rate too many for the next stack.
        for (block, rate) in self.0.iter_mut().zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    /// Positions (B, N, C) of a grid through all blocks, with the outputs of the last `layers` of them.
    pub fn forward(
        &self,
        cx: &Context<'_>,
        x: &Tensor,
        grid: [usize; 2],
        layers: usize,
        attention: bool,
    ) -> Result<BlocksOutput> {
        let mut out = BlocksOutput { x: x.clone(), layers: Vec::new(), attention: None };
        for (i, block) in self.0.iter().enumerate() {
            let with_attention = attention && i + 1 == self.len();
            let block = Arc::clone(block);
            let mut outputs = cx.checkpoint(&[&out.x], move |inputs| {
                let (x, weights) = block.forward(&inputs[0], grid, with_attention)?;
                Ok(std::iter::once(x).chain(weights).collect())
            })?;
            out.attention = outputs.split_off(1).pop();
            out.x = outputs.remove(0);
            if i + layers >= self.len() {
                out.layers.push(out.x.clone());
            }
        }
        Ok(out)
    }
}
