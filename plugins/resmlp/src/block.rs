//! The ResMLP block.

use hssl_plugin_api::nn::{self, LayerScale, Mlp, Residual};
use hssl_plugin_api::{Init, Params, Result, Tensor};

use crate::token_linear::TokenLinear;

/// What stands for a norm: alpha x + beta per channel, `alpha` and `beta` (1, 1, C).
#[derive(Clone)]
pub struct Affine {
    alpha: Tensor,
    beta: Tensor,
}

impl Affine {
    /// alpha 1, beta 0.
    pub fn new(width: usize, params: &Params<'_>) -> Result<Self> {
        Ok(Self {
            alpha: params.get("alpha", &[1, 1, width], Init::ONES)?,
            beta: params.get("beta", &[1, 1, width], Init::ZEROS)?,
        })
    }

    /// (B, H, W, C) to (B, H, W, C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.mul(&self.alpha)?.add(&self.beta)
    }
}

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Channels C.
    pub width: usize,
    /// Hidden width of the MLP.
    pub hidden: usize,
    /// Rows and columns of the maps.
    pub grid: [usize; 2],
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
    /// Whether the shortcuts around token mixer and MLP are kept.
    pub shortcuts: (bool, bool),
    /// Whether the dense layer over positions is there.
    pub token_mixer: bool,
    /// Whether the MLP is there.
    pub mlp: bool,
}

/// x + ls1 token_linear(norm1 x); x + ls2 mlp(norm2 x).
#[derive(Clone)]
pub struct Block {
    mixer: Option<Residual<Affine, TokenLinear>>,
    mlp: Option<Residual<Affine, Mlp>>,
}

impl Block {
    /// Linears start truncated normal, biases 0.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let BlockConfig { width, hidden, grid, layer_scale, .. } = *config;
        let (first, second) = config.shortcuts;
        let mixer = || -> Result<_> {
            Ok(Residual::new(
                Affine::new(width, &params.pp("norm1"))?,
                TokenLinear::new(grid, &params.pp("linear_tokens"))?,
                LayerScale::new("ls1", width, layer_scale, params)?,
                first,
            ))
        };
        let mlp = || -> Result<_> {
            Ok(Residual::new(
                Affine::new(width, &params.pp("norm2"))?,
                Mlp::new(width, hidden, &params.pp("mlp_channels"))?,
                LayerScale::new("ls2", width, layer_scale, params)?,
                second,
            ))
        };
        Ok(Self {
            mixer: config.token_mixer.then(mixer).transpose()?,
            mlp: config.mlp.then(mlp).transpose()?,
        })
    }
}

impl nn::Block for Block {
    fn set_drop_path(&mut self, rate: f64) {
        self.mixer.iter_mut().for_each(|mixer| mixer.set_drop_path(rate));
        self.mlp.iter_mut().for_each(|mlp| mlp.set_drop_path(rate));
    }

    /// (B, H, W, C) to (B, H, W, C).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(mixer) = &self.mixer {
            x = mixer.join(&x, mixer.layer.forward(&mixer.norm.forward(&x)?)?)?;
        }
        if let Some(mlp) = &self.mlp {
            x = mlp.join(&x, mlp.layer.forward(&mlp.norm.forward(&x)?)?)?;
        }
        Ok(x)
    }
}
