//! `pad`.

use crate::{Error, PadMode, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn pad(x: &Tensor, pads: &[usize], mode: PadMode, value: f64) -> Result<Tensor> {
    Err(Error::attribute("pad", "not written yet"))
}
