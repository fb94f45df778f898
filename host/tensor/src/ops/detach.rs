//! `detach`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn detach(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("detach", "not written yet"))
}
