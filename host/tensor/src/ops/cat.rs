//! `cat`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn cat(inputs: &[&Tensor], dim: i64) -> Result<Tensor> {
    Err(Error::attribute("cat", "not written yet"))
}
