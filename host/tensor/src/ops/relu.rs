//! `relu`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("relu", "not written yet"))
}
