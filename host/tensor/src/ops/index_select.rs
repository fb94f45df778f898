//! `index_select`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn index_select(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor> {
    Err(Error::attribute("index_select", "not written yet"))
}
