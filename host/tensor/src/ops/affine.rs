//! `affine`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn affine(x: &Tensor, mul: f64, add: f64) -> Result<Tensor> {
    Err(Error::attribute("affine", "not written yet"))
}
