//! `powf`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn powf(x: &Tensor, exponent: f64) -> Result<Tensor> {
    Err(Error::attribute("powf", "not written yet"))
}
