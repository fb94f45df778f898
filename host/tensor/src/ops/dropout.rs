//! `dropout`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    Err(Error::attribute("dropout", "not written yet"))
}
