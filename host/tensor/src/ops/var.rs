//! `var`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn var(x: &Tensor, dims: &[i64], correction: usize, keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("var", "not written yet"))
}
