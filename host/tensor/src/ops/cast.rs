//! `cast`.

use crate::{DType, Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    Err(Error::attribute("cast", "not written yet"))
}
