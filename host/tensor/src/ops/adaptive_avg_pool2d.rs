//! `adaptive_avg_pool2d`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn adaptive_avg_pool2d(x: &Tensor, output: [usize; 2]) -> Result<Tensor> {
    Err(Error::attribute("adaptive_avg_pool2d", "not written yet"))
}
