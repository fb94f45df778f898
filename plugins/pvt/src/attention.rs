//! Attention whose keys and values lie on a coarser grid than its queries.

use hssl_plugin_api::nn::{Conv2d, ConvConfig, LayerNorm, Linear};
use hssl_plugin_api::{Params, Result, Tensor, refuse};

use crate::embed::{CONV_NORM_EPS, ConvInit};

/// Spatial-reduction attention: `q` (C, C) of every position; `kv` (2C, C) of a map that `sr`, a
/// convolution over tiles of R x R positions, and `norm` have reduced (neither is there at R = 1);
/// `proj` (C, C).
#[derive(Clone)]
pub struct SpatialReductionAttention {
    q: Linear,
    kv: Linear,
    reduction: Option<Reduction>,
    proj: Linear,
    heads: usize,
}

#[derive(Clone)]
struct Reduction {
    ratio: usize,
    sr: Conv2d,
    norm: LayerNorm,
}

impl Reduction {
    /// Positions (B, H*W, C) to (B, H/R * W/R, C); what R leaves over at the right and the bottom is not seen.
    fn forward(&self, x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
        let (b, _, c) = x.dims3()?;
        if rows.min(columns) < self.ratio {
            refuse!(
                "a map of {rows} x {columns} positions; sr_ratio {0} needs at least {0} x {0}: use larger \
                 images or a smaller ratio",
                self.ratio
            );
        }
        let reduced = self.sr.forward(&x.reshape((b, rows, columns, c))?)?;
        self.norm.forward(&reduced.flatten(1, 2)?)
    }
}

impl SpatialReductionAttention {
    /// `heads` divides the width.
    pub fn new(
        width: usize,
        heads: usize,
        ratio: usize,
        init: ConvInit,
        params: &Params<'_>,
    ) -> Result<Self> {
        let reduction = || -> Result<Reduction> {
            Ok(Reduction {
                ratio,
                sr: init.conv(width, width, ConvConfig::patches(ratio), &params.pp("sr"))?,
                norm: LayerNorm::new(width, CONV_NORM_EPS, &params.pp("norm"))?,
            })
        };
        Ok(Self {
            q: Linear::new(width, width, &params.pp("q"))?,
            kv: Linear::new(width, 2 * width, &params.pp("kv"))?,
            reduction: (ratio > 1).then(reduction).transpose()?,
            proj: Linear::new(width, width, &params.pp("proj"))?,
            heads,
        })
    }

    /// Positions (B, N, C) of a grid, row by row, to (B, N, C), with the weights (B, heads, N, M) if asked
    /// for. Without a reduction, there may be other tokens among them.
    pub fn forward(
        &self,
        x: &Tensor,
        grid: [usize; 2],
        return_weights: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (b, n, c) = x.dims3()?;
        let (heads, head_dim) = (self.heads, c / self.heads);
        let q = self.q.forward(x)?.reshape((b, n, heads, head_dim))?.transpose(1, 2)?;
        let source = match &self.reduction {
            Some(reduction) => reduction.forward(x, grid)?,
            None => x.clone(),
        };
        let kv = self.kv.forward(&source)?.reshape((b, source.dim(1)?, 2, heads, head_dim))?;
        let kv = kv.permute(&[2, 0, 3, 1, 4])?; // (2, B, heads, M, D)
        let (k, v) = (kv.index(0, 0)?, kv.index(0, 1)?);
        let scale = (head_dim as f64).powf(-0.5);
        let (out, weights) = q.attention(&k, &v, None, scale, return_weights)?;
        let out = out.transpose(1, 2)?.reshape((b, n, c))?;
        Ok((self.proj.forward(&out)?, weights))
    }
}
