//! The MLP by which joint-embedding methods project and predict.

use crate::nn::{BatchNorm, Linear};
use crate::{Context, Init, Params, Result, Tensor};

/// Sizes of a [`BatchNormMlp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormMlpConfig {
    /// Dense layers; one less is hidden.
    pub layers: usize,
    /// Width of the hidden layers.
    pub hidden: usize,
    /// Width of the output.
    pub output: usize,
    /// Whether the output is batch-normed, without an affine map.
    pub output_norm: bool,
}

/// Dense layers, each but the last with batch norm and ReLU, numbered as in PyTorch's `Sequential`.
///
/// No layer has a bias: a batch norm would take it off again, and the methods' last layers have none.
#[derive(Clone, Debug)]
pub struct BatchNormMlp {
    hidden: Vec<(Linear, BatchNorm)>,
    last: Linear,
    output_norm: Option<BatchNorm>,
}

impl BatchNormMlp {
    /// Weights start as PyTorch's dense layers do.
    pub fn new(input: usize, config: &BatchNormMlpConfig, params: &Params<'_>) -> Result<Self> {
        let BatchNormMlpConfig { layers, hidden, output, output_norm } = *config;
        if layers == 0 || hidden == 0 || output == 0 {
            refuse!(
                "{}: {layers} layers, {hidden} wide, with {output} outputs; expected at least 1 of each",
                params.prefix()
            );
        }
        let linear = |inputs, outputs, place: usize| {
            Linear::with_init(inputs, outputs, Init::fan_in(inputs), None, &params.pp(place))
        };
        let mut built = Vec::new();
        let mut width = input;
        for place in (0..layers - 1).map(|layer| 3 * layer) {
            let norm = BatchNorm::new(hidden, &params.pp(place + 1))?;
            built.push((linear(width, hidden, place)?, norm));
            width = hidden;
        }
        let place = 3 * (layers - 1);
        let norm = || BatchNorm::with(output, false, 1e-5, &params.pp(place + 1));
        Ok(Self {
            hidden: built,
            last: linear(width, output, place)?,
            output_norm: output_norm.then(norm).transpose()?,
        })
    }

    /// (n, C) to (n, `output`). With `training`, norms go by the batch and move their running statistics.
    pub fn forward(&self, cx: &Context<'_>, x: &Tensor, training: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for (linear, norm) in &self.hidden {
            x = norm.forward(cx, &linear.forward(&x)?, training)?.relu()?;
        }
        x = self.last.forward(&x)?;
        match &self.output_norm {
            Some(norm) => norm.forward(cx, &x, training),
            None => Ok(x),
        }
    }
}
