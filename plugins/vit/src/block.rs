//! The transformer block, of the base and of the head.

use hssl_plugin_api::nn::{Attention, LayerNorm, LinearInit, Mlp, Shortcut};
use hssl_plugin_api::{Init, Params, Result, Tensor};

/// Epsilon of all layer norms.
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
    /// First value of the layer scales, if there are any.
    pub layer_scale: Option<f64>,
    /// How the linears start.
    pub init: LinearInit,
    /// Whether attention is there, and its shortcut.
    pub attention: Part,
    /// Whether the MLP is there, and its shortcut.
    pub mlp: Part,
}

/// What a block has of one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The part and the shortcut around it.
    Residual,
    /// The part alone.
    Plain,
    /// Nothing.
    Absent,
}

impl Part {
    /// A part that is there, with or without its shortcut.
    pub fn with_shortcut(kept: bool) -> Self {
        if kept { Self::Residual } else { Self::Plain }
    }
}

/// x + ls1 attention(norm1 x); x + ls2 mlp(norm2 x). Layer scales, a part or a shortcut may be missing.
#[derive(Clone)]
pub struct Block {
    attention: Option<Branch<Attention>>,
    mlp: Option<Branch<Mlp>>,
}

/// A part with what is around it.
#[derive(Clone)]
struct Branch<T> {
    norm: LayerNorm,
    part: T,
    gamma: Option<Tensor>,
    shortcut: Shortcut,
}

impl<T> Branch<T> {
    /// Makes the part `make` under the names of timm, unless it is absent.
    fn new(
        config: &BlockConfig,
        part: Part,
        [norm, name, scale]: [&str; 3],
        params: &Params<'_>,
        make: impl FnOnce(&Params<'_>) -> Result<T>,
    ) -> Result<Option<Self>> {
        if part == Part::Absent {
            return Ok(None);
        }
        let gamma = |value| params.pp(scale).get("gamma", &[config.width], Init::Constant(value));
        Ok(Some(Self {
            norm: LayerNorm::new(config.width, NORM_EPS, &params.pp(norm))?,
            part: make(&params.pp(name))?,
            gamma: config.layer_scale.map(gamma).transpose()?,
            shortcut: Shortcut::new(part == Part::Residual),
        }))
    }

    fn join(&self, x: &Tensor, branch: Tensor) -> Result<Tensor> {
        let branch = match &self.gamma {
            Some(gamma) => branch.mul(gamma)?,
            None => branch,
        };
        self.shortcut.join(x, branch)
    }
}

impl Block {
    /// `norm1`, `attn`, `ls1`, `norm2`, `mlp`, `ls2`.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, heads, hidden, init, .. } = *config;
        let names = (["norm1", "attn", "ls1"], ["norm2", "mlp", "ls2"]);
        Ok(Self {
            attention: Branch::new(config, config.attention, names.0, params, |params| {
                Attention::with_init(width, heads, init, params)
            })?,
            mlp: Branch::new(config, config.mlp, names.1, params, |params| {
                Mlp::with_init(width, hidden, init, params)
            })?,
        })
    }

    /// Rate of stochastic depth, of both parts.
    pub fn set_drop_path(&mut self, rate: f64) {
        if let Some(branch) = &mut self.attention {
            branch.shortcut.set_drop_path(rate);
        }
        if let Some(branch) = &mut self.mlp {
            branch.shortcut.set_drop_path(rate);
        }
    }

    /// (B, N, C) to (B, N, C), with the attention (B, heads, N, N) if it is asked for.
    pub fn forward(&self, x: &Tensor, attention: bool) -> Result<(Tensor, Option<Tensor>)> {
        let (mut x, mut weights) = (x.clone(), None);
        if let Some(branch) = &self.attention {
            let (mixed, found) = branch.part.forward(&branch.norm.forward(&x)?, attention)?;
            (x, weights) = (branch.join(&x, mixed)?, found);
        }
        if let Some(branch) = &self.mlp {
            let out = branch.part.forward(&branch.norm.forward(&x)?)?;
            x = branch.join(&x, out)?;
        }
        Ok((x, weights))
    }
}
