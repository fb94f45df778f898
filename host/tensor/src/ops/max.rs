//! `max`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn max(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("max", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn min(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("min", "not written yet"))
}
