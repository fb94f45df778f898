//! `top_k`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn top_k(x: &Tensor, k: usize, largest: bool) -> Result<Vec<Tensor>> {
    Err(Error::attribute("top_k", "not written yet"))
}
