//! `narrow`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn narrow(x: &Tensor, dim: i64, start: usize, len: usize) -> Result<Tensor> {
    Err(Error::attribute("narrow", "not written yet"))
}
