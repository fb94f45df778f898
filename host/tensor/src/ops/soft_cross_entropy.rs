//! `soft_cross_entropy`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn soft_cross_entropy(logits: &Tensor, target: &Tensor, temperature: f64) -> Result<Tensor> {
    Err(Error::attribute("soft_cross_entropy", "not written yet"))
}
