//! `log_sum_exp`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn log_sum_exp(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("log_sum_exp", "not written yet"))
}
