//! `uniform`.

use crate::{Device, Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn uniform(shape: &[usize], low: f64, high: f64, device: &Device) -> Result<Tensor> {
    Err(Error::attribute("uniform", "not written yet"))
}
