//! `extremum`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn maximum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("maximum", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn minimum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("minimum", "not written yet"))
}
