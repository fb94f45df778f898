//! `attention`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    scale: f64,
    return_weights: bool,
) -> Result<Vec<Tensor>> {
    Err(Error::attribute("attention", "not written yet"))
}
