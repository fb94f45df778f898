//! `mul`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("mul", "not written yet"))
}
