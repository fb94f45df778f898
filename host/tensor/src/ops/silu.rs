//! `silu`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("silu", "not written yet"))
}
