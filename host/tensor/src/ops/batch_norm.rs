//! `batch_norm`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn batch_norm(
    x: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    momentum: f64,
    training: bool,
) -> Result<Vec<Tensor>> {
    Err(Error::attribute("batch_norm", "not written yet"))
}
