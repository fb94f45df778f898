//! `scatter_add`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn scatter_add(x: &Tensor, index: &Tensor, source: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("scatter_add", "not written yet"))
}
