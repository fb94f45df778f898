//! Sizes of convolutions and pools.

use crate::{Error, Result};

/// Stride, zero padding, dilation and groups of a convolution, as (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Distance between the elements of a window.
    pub dilation: [usize; 2],
    /// Independent slices of the channels.
    pub groups: usize,
}

impl Geometry {
    /// Stride 1, no padding, one group.
    pub const PLAIN: Self = Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 };

    /// Output size of a convolution over `input` with `kernel`.
    ///
    /// # Errors
    /// The window does not fit, or a stride, dilation or kernel size is 0.
    pub fn output(
        &self,
        op: &'static str,
        input: [usize; 2],
        kernel: [usize; 2],
    ) -> Result<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
            if stride == 0 || dilation == 0 || kernel[axis] == 0 {
                return Err(Error::attribute(
                    op,
                    "stride, dilation and kernel size must be at least 1",
                ));
            }
            let window = dilation * (kernel[axis] - 1) + 1;
            let padded = input[axis] + 2 * self.padding[axis];
            if padded < window {
                return Err(Error::shape(
                    op,
                    format!("a map of {}x{} with padding {:?}", input[0], input[1], self.padding),
                    format!("at least the window, {window} along axis {axis}"),
                ));
            }
            output[axis] = (padded - window) / stride + 1;
        }
        Ok(output)
    }
}
