//! `arange`.

use crate::{DType, Device, Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn arange(start: f64, step: f64, len: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    Err(Error::attribute("arange", "not written yet"))
}
