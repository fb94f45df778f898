//! Normalisation layers.

use hssl_ops::Op;

use crate::params::Init;
use crate::{Context, Error, Params, Result, Tensor};

/// Layer norm over the last dimension; `weight` and `bias` (C).
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Weight 1, bias 0.
    pub fn new(width: usize, eps: f64, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            weight: params.get("weight", &[width], Init::ONES)?,
            bias: params.get("bias", &[width], Init::ZEROS)?,
            eps,
        })
    }

    /// (.., C) to (.., C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(Some(&self.weight), Some(&self.bias), self.eps)
    }
}

/// Group norm over positions and channel groups; `weight` and `bias` (C).
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Weight 1, bias 0.
    pub fn new(groups: usize, width: usize, eps: f64, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            weight: params.get("weight", &[width], Init::ONES)?,
            bias: params.get("bias", &[width], Init::ZEROS)?,
            groups,
            eps,
        })
    }

    /// (B, .., C) to (B, .., C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.group_norm(Some(&self.weight), Some(&self.bias), self.groups, self.eps)
    }
}

/// Batch norm over all but the last dimension; buffers `running_mean` and `running_var` (C).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    affine: Option<(Tensor, Tensor)>,
    running_mean: Tensor,
    running_var: Tensor,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// PyTorch's defaults: eps 1e-5, momentum 0.1, weight 1, bias 0.
    pub fn new(width: usize, params: &Params<'_>) -> Result<Self> {
        Self::with(width, true, 1e-5, params)
    }

    /// As [`BatchNorm::new`], with a weight that starts as `weight` says.
    pub fn with_weight(width: usize, weight: Init, params: &Params<'_>) -> Result<Self> {
        Self::build(width, Some(weight), 1e-5, params)
    }

    /// With or without an affine map.
    pub fn with(width: usize, affine: bool, eps: f64, params: &Params<'_>) -> Result<Self> {
        Self::build(width, affine.then_some(Init::ONES), eps, params)
    }

    fn build(width: usize, weight: Option<Init>, eps: f64, params: &Params<'_>) -> Result<Self> {
        let affine = |weight| -> Result<(Tensor, Tensor)> {
            Ok((
                params.get("weight", &[width], weight)?,
                params.get("bias", &[width], Init::ZEROS)?,
            ))
        };
        Ok(Self {
            affine: weight.map(affine).transpose()?,
            running_mean: params.buffer("running_mean", &[width], Init::ZEROS)?,
            running_var: params.buffer("running_var", &[width], Init::ONES)?,
            eps,
            momentum: 0.1,
        })
    }

    /// (.., C) to (.., C). With `training`, by the batch's statistics, which move the running ones.
    pub fn forward(&self, cx: &Context<'_>, x: &Tensor, training: bool) -> Result<Tensor> {
        let mut moved = Vec::new();
        let y = self.normalise(x, training, &mut moved)?;
        self.keep(cx, &moved)?;
        Ok(y)
    }

    /// As [`BatchNorm::forward`], inside a block that [`Context::checkpoint`] may run twice: the running
    /// statistics stay as they are, and with `training` what they move to, mean and variance, is added
    /// to `moved`. Return it from the block and hand it to [`BatchNorm::keep`].
    pub fn normalise(&self, x: &Tensor, training: bool, moved: &mut Vec<Tensor>) -> Result<Tensor> {
        let op = Op::BatchNorm { eps: self.eps, momentum: self.momentum, training };
        let mut inputs = vec![x, &self.running_mean, &self.running_var];
        if let Some((weight, bias)) = &self.affine {
            inputs.extend([weight, bias]);
        }
        let mut outputs = Tensor::dispatch(x.host(), &op, &inputs)?.into_iter();
        let y = outputs.next().ok_or_else(|| Error::Host("batch norm returned nothing".into()))?;
        moved.extend(outputs);
        Ok(y)
    }

    /// Takes over the running statistics, mean and variance, that one [`BatchNorm::normalise`] moved.
    pub fn keep(&self, cx: &Context<'_>, moved: &[Tensor]) -> Result<()> {
        for (buffer, value) in [&self.running_mean, &self.running_var].into_iter().zip(moved) {
            cx.assign(buffer, value)?;
        }
        Ok(())
    }
}
