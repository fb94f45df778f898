//! `sort`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn sort(x: &Tensor, descending: bool) -> Result<Vec<Tensor>> {
    Err(Error::attribute("sort", "not written yet"))
}
