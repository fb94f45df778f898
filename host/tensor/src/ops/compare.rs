//! `compare`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn eq(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("eq", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn ne(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("ne", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn lt(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("lt", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn le(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("le", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn gt(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("gt", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn ge(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("ge", "not written yet"))
}
