//! `flip`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Err(Error::attribute("flip", "not written yet"))
}
