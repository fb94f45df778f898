//! Multi-head self-attention (Vaswani et al., 2017) with timm's parameter names.

use crate::nn::{Linear, LinearInit};
use crate::{Init, Params, Result, Tensor};

/// `qkv` (3C, C) and `proj` (C, C); scale head_dim^-1/2.
#[derive(Clone, Debug)]
pub struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    /// `heads` must divide the width.
    pub fn new(width: usize, heads: usize, params: &Params<'_>) -> Result<Self> {
        Self::with_init(width, heads, LinearInit::default(), params)
    }

    /// As [`Attention::new`], with weights that start as `init` says.
    pub fn with_init(
        width: usize,
        heads: usize,
        init: LinearInit,
        params: &Params<'_>,
    ) -> Result<Self> {
        if heads == 0 || !width.is_multiple_of(heads) {
            refuse!("{}: {heads} heads do not divide the width {width}", params.prefix());
        }
        let linear = |name, outputs| {
            let weight = init.weight(width, width);
            Linear::with_init(width, outputs, weight, Some(Init::ZEROS), &params.pp(name))
        };
        Ok(Self { qkv: linear("qkv", 3 * width)?, proj: linear("proj", width)?, heads })
    }

    /// (B, N, C) to (B, N, C), with the weights (B, heads, N, N) if asked for.
    pub fn forward(&self, x: &Tensor, return_weights: bool) -> Result<(Tensor, Option<Tensor>)> {
        let (b, n, c) = x.dims3()?;
        let head_dim = c / self.heads;
        let qkv = self.qkv.forward(x)?.reshape((b, n, 3, self.heads, head_dim))?;
        let qkv = qkv.permute(&[2, 0, 3, 1, 4])?; // (3, B, heads, N, D)
        let (q, k, v) = (qkv.index(0, 0)?, qkv.index(0, 1)?, qkv.index(0, 2)?);
        let scale = (head_dim as f64).powf(-0.5);
        let (out, weights) = q.attention(&k, &v, None, scale, return_weights)?;
        let out = out.transpose(1, 2)?.reshape((b, n, c))?;
        Ok((self.proj.forward(&out)?, weights))
    }
}
