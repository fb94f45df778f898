//! `unary`.

use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn neg(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("neg", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn exp(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("exp", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn log(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("log", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn sqrt(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("sqrt", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn square(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("square", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn abs(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("abs", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn sin(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("sin", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn cos(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("cos", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("tanh", "not written yet"))
}

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Err(Error::attribute("sigmoid", "not written yet"))
}
