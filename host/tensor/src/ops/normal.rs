//! `normal`.

use crate::{Device, Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn normal(shape: &[usize], mean: f64, std: f64, device: &Device) -> Result<Tensor> {
    Err(Error::attribute("normal", "not written yet"))
}
