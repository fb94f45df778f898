//! `reshape`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn reshape(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    Err(Error::attribute("reshape", "not written yet"))
}
