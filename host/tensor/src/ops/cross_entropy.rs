//! `cross_entropy`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    label_smoothing: f64,
    ignore_index: i64,
) -> Result<Tensor> {
    Err(Error::attribute("cross_entropy", "not written yet"))
}
