//! `log_softmax`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn log_softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("log_softmax", "not written yet"))
}
