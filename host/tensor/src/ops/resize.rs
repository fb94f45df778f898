//! `resize`.

use crate::{Error, ResizeMode, Result, Tensor};

/// NOT WRITTEN YET.
#[allow(clippy::too_many_arguments, unused_variables)]
pub fn resize(
    x: &Tensor,
    output: [usize; 2],
    mode: ResizeMode,
    align_corners: bool,
    antialias: bool,
    scale: [f64; 2],
) -> Result<Tensor> {
    Err(Error::attribute("resize", "not written yet"))
}
