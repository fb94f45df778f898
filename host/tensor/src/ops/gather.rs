//! `gather`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn gather(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("gather", "not written yet"))
}
