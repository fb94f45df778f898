//! The norm that the host adds to branches.

use hssl_plugin_api::component::Features;
use hssl_plugin_api::params::Init;
use hssl_tensor::{Tensor, ops};

use super::builder::Builder;
use crate::error::Result;
use crate::plugin::export;

/// Epsilon of the norm after a head (spec 1.2).
const EPS: f64 = 1e-6;

/// Weight and bias of a layer norm.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    pub(super) fn new(builder: &mut Builder<'_>, scope: &str, width: usize) -> Result<Self> {
        let mut make = |name: &str, init| builder.parameter(format!("{scope}.{name}"), width, init);
        Ok(Self { weight: make("weight", Init::ONES)?, bias: make("bias", Init::ZEROS)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, Some(&self.weight), Some(&self.bias), EPS)?)
    }

    /// What heads on the base's map end with: the mean over positions stands for the image, *then* both
    /// are normalised (the norm of a mean is not the mean of norms).
    pub(super) fn tail(&self, map: &Tensor) -> Result<Features> {
        let image = self.forward(&ops::mean(map, &[1, 2], false)?)?;
        let mut features = Features::new(export(&image), export(&self.forward(map)?));
        features.pre_norm = Some(export(map));
        Ok(features)
    }
}
