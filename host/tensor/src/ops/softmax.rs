//! `softmax`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("softmax", "not written yet"))
}
