//! `conv_transpose2d`.

use super::geometry::Geometry;
use crate::{Error, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
    output_padding: [usize; 2],
) -> Result<Tensor> {
    Err(Error::attribute("conv_transpose2d", "not written yet"))
}
