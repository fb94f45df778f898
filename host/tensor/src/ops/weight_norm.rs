//! `weight_norm`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn weight_norm(v: &Tensor, g: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("weight_norm", "not written yet"))
}
