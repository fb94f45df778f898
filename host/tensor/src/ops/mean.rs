//! `mean`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn mean(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    Err(Error::attribute("mean", "not written yet"))
}
