//! `permute`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn permute(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Err(Error::attribute("permute", "not written yet"))
}
