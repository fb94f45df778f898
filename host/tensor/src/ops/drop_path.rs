//! `drop_path`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn drop_path(x: &Tensor, p: f64) -> Result<Tensor> {
    Err(Error::attribute("drop_path", "not written yet"))
}
