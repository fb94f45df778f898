//! `cum_sum`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn cum_sum(x: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("cum_sum", "not written yet"))
}
