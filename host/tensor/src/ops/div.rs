//! `div`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("div", "not written yet"))
}
