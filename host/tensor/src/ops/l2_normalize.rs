//! `l2_normalize`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn l2_normalize(x: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
    Err(Error::attribute("l2_normalize", "not written yet"))
}
