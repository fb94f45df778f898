//! `argmax`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn argmax(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("argmax", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn argmin(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("argmin", "not written yet"))
}
