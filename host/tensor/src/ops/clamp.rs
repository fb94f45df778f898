//! `clamp`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn clamp(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    Err(Error::attribute("clamp", "not written yet"))
}
