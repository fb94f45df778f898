//! The PoolFormer block.

use hssl_plugin_api::nn::{self, GroupNorm, LayerScale, Mlp, Residual};
use hssl_plugin_api::{Params, Result, Tensor, refuse};

/// Epsilon of the group norms.
pub const NORM_EPS: f64 = 1e-5;

/// The mean over the neighbours that are there (those outside the map do not count), minus the input.
#[derive(Clone, Copy, Debug)]
pub struct Pooling {
    /// Side of the window.
    size: usize,
    /// Whether the input is subtracted.
    minus_x: bool,
}

impl Pooling {
    /// `name` is the component's in messages.
    pub fn new(name: &str, size: usize, minus_x: bool) -> Result<Self> {
        if size.is_multiple_of(2) || size < 3 {
            refuse!("{name}: pool_size {size}; expected an odd number from 3 on");
        }
        Ok(Self { size, minus_x })
    }

    /// (B, H, W, C) to (B, H, W, C).
    fn forward(self, x: &Tensor) -> Result<Tensor> {
        let mean = x.avg_pool2d([self.size; 2], [1; 2], [self.size / 2; 2], false)?;
        if self.minus_x { mean.sub(x) } else { Ok(mean) }
    }
}

/// Sizes and switches of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Channels C.
    pub width: usize,
    /// First value of the layer scales; 0: none.
    pub layer_scale: f64,
    /// Whether the shortcuts around token mixer and MLP are kept.
    pub shortcuts: (bool, bool),
    /// The token mixer, if it is there.
    pub pooling: Option<Pooling>,
    /// Whether the MLP is there.
    pub mlp: bool,
}

/// x + layer_scale1 pool(norm1 x); x + layer_scale2 mlp(norm2 x). Norms are over all positions and
/// channels of an image.
#[derive(Clone)]
pub struct Block {
    mixer: Option<Residual<GroupNorm, Pooling>>,
    mlp: Option<Residual<GroupNorm, Mlp>>,
}

impl Block {
    /// The MLP's weights are those of 1x1 convolutions and start truncated normal, its biases 0.
    pub fn new(config: &BlockConfig, params: &Params<'_>) -> Result<Self> {
        let width = config.width;
        let norm = |name| GroupNorm::new(1, width, NORM_EPS, &params.pp(name));
        let scale = |name| LayerScale::new("scale", width, config.layer_scale, &params.pp(name));
        let (first, second) = config.shortcuts;
        let mixer = |pooling| -> Result<_> {
            Ok(Residual::new(norm("norm1")?, pooling, scale("layer_scale1")?, first))
        };
        let mlp = || -> Result<_> {
            let mlp = Mlp::pointwise(width, 4 * width, &params.pp("mlp"))?;
            Ok(Residual::new(norm("norm2")?, mlp, scale("layer_scale2")?, second))
        };
        Ok(Self {
            mixer: config.pooling.map(mixer).transpose()?,
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
