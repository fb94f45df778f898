//! `broadcast_to`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn broadcast_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    Err(Error::attribute("broadcast_to", "not written yet"))
}
