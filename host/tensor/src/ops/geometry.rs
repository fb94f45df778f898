//! Sizes of convolutions and pools, and the window that both slide over a map.

use crate::{Array, DType, Error, Result};

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
            let stride = self.stride[axis];
            let window = self.extent(op, kernel, axis)?;
            let padded = self.padding[axis]
                .checked_mul(2)
                .and_then(|padding| padding.checked_add(input[axis]))
                .filter(|size| *size <= LARGEST)
                .ok_or_else(|| too_large(op, "padding", self.padding))?;
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

    /// Output size of a transposed convolution over `input`: the size of a map that a convolution
    /// of this geometry takes to `input`; `output_padding` says which, where a stride leaves
    /// several.
    ///
    /// # Errors
    /// The padding takes all of it, a size is 0, or `output_padding` is not below the stride or
    /// the dilation.
    pub fn transposed_output(
        &self,
        op: &'static str,
        input: [usize; 2],
        kernel: [usize; 2],
        output_padding: [usize; 2],
    ) -> Result<[usize; 2]> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let (stride, padding) = (self.stride[axis], self.padding[axis]);
            let window = self.extent(op, kernel, axis)?;
            if output_padding[axis] >= stride.max(self.dilation[axis]) {
                return Err(Error::attribute(
                    op,
                    format!(
                        "output_padding {output_padding:?}; expected less than the stride {:?} or \
                         the dilation {:?}",
                        self.stride, self.dilation
                    ),
                ));
            }
            let padded = (input[axis].max(1) - 1)
                .checked_mul(stride)
                .and_then(|size| size.checked_add(window))
                .and_then(|size| size.checked_add(output_padding[axis]))
                .filter(|size| *size <= LARGEST)
                .ok_or_else(|| too_large(op, "stride", self.stride))?;
            output[axis] = padding
                .checked_mul(2)
                .and_then(|padding| padded.checked_sub(padding))
                .filter(|size| *size > 0)
                .ok_or_else(|| {
                    Error::attribute(
                        op,
                        format!(
                            "padding {:?} takes all of the output; expected less than half of \
                             {padded} along axis {axis}",
                            self.padding
                        ),
                    )
                })?;
        }
        Ok(output)
    }

    /// How far a window reaches along an axis.
    fn extent(&self, op: &'static str, kernel: [usize; 2], axis: usize) -> Result<usize> {
        if self.stride[axis] == 0 || self.dilation[axis] == 0 || kernel[axis] == 0 {
            return Err(Error::attribute(
                op,
                format!(
                    "stride {:?}, dilation {:?}, kernel {kernel:?}; expected at least 1 each",
                    self.stride, self.dilation
                ),
            ));
        }
        self.dilation[axis]
            .checked_mul(kernel[axis] - 1)
            .and_then(|size| size.checked_add(1))
            .ok_or_else(|| too_large(op, "dilation", self.dilation))
    }
}

/// The widest map, with padding: beyond it an attribute is a mistake, and no memory would do.
const LARGEST: usize = 1 << 20;

fn too_large(op: &'static str, name: &str, value: [usize; 2]) -> Error {
    Error::attribute(op, format!("{name} {value:?} is too large"))
}

/// A window that slides over a map: the part of a convolution or pool that has no channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

impl Window {
    /// The window of a convolution or pool.
    pub fn new(
        op: &'static str,
        input: [usize; 2],
        kernel: [usize; 2],
        geometry: &Geometry,
    ) -> Result<Self> {
        let Geometry { stride, padding, dilation, .. } = *geometry;
        let output = geometry.output(op, input, kernel)?;
        Ok(Self { input, output, kernel, stride, padding, dilation })
    }

    /// The window of a pool, which may not lie in the padding alone.
    pub fn pool(
        op: &'static str,
        input: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Self> {
        if (0..2).any(|axis| padding[axis] > kernel[axis] / 2) {
            return Err(Error::attribute(
                op,
                format!("padding {padding:?}; expected at most half of the kernel, {kernel:?}"),
            ));
        }
        Self::new(op, input, kernel, &Geometry { stride, padding, ..Geometry::PLAIN })
    }

    /// Number of elements of a window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Number of windows in a map.
    pub fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Which position of the input element `tap` of window `output` reads; none in the padding.
    #[inline(always)]
    pub fn source(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let position = output * self.stride[axis] + tap * self.dilation[axis];
        position.checked_sub(self.padding[axis]).filter(|position| *position < self.input[axis])
    }

    /// Which window reads position `input` with its element `tap`, if one does.
    #[inline(always)]
    pub fn reader(&self, axis: usize, input: usize, tap: usize) -> Option<usize> {
        let position = (input + self.padding[axis]).checked_sub(tap * self.dilation[axis])?;
        let output = position / self.stride[axis];
        (position % self.stride[axis] == 0 && output < self.output[axis]).then_some(output)
    }

    /// Whether the windows are the map's pixels themselves.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }
}

/// The dimensions (B, H, W, C) of a map of floats.
///
/// # Errors
/// The rank is another, a dimension is 0, or the element type is no float.
pub(crate) fn map_dims(op: &'static str, x: &Array) -> Result<[usize; 4]> {
    if !matches!(x.dtype(), DType::F32 | DType::F64 | DType::BF16 | DType::F16) {
        return Err(Error::Type { op, found: x.dtype(), expected: "f32, f64, bf16 or f16" });
    }
    match *x.dims() {
        [b, h, w, c] if b * h * w * c > 0 => Ok([b, h, w, c]),
        _ => Err(Error::shape(op, format!("{:?}", x.dims()), "a map (B, H, W, C), none of them 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: [usize; 2] = [3, 2];

    fn geometry() -> Geometry {
        Geometry { stride: [2, 1], padding: [1, 0], dilation: [1, 2], groups: 1 }
    }

    #[test]
    fn readers_invert_sources() {
        let window = Window::new("Conv2d", [7, 6], KERNEL, &geometry()).unwrap();
        #[allow(clippy::needless_range_loop, reason = "the axis indexes several arrays")]
        for axis in 0..2 {
            for tap in 0..KERNEL[axis] {
                for input in 0..window.input[axis] {
                    let output = window.reader(axis, input, tap);
                    let found = (0..window.output[axis])
                        .find(|output| window.source(axis, *output, tap) == Some(input));
                    assert_eq!(output, found, "axis {axis}, tap {tap}, position {input}");
                }
            }
        }
    }

    #[test]
    fn a_transposed_convolution_restores_the_size() {
        let output = geometry().output("Conv2d", [8, 6], KERNEL).unwrap();
        let input = geometry().transposed_output("ConvTranspose2d", output, KERNEL, [1, 0]);
        assert_eq!(input.unwrap(), [8, 6]);
    }

    #[test]
    fn impossible_sizes_are_named() {
        let refuse = |geometry: Geometry| {
            let error = geometry.output("Conv2d", [4, 4], [7, 7]).unwrap_err();
            error.to_string()
        };
        assert!(refuse(Geometry::PLAIN).contains("a map of 4x4 with padding [0, 0]; expected"));
        assert!(refuse(Geometry { stride: [0, 1], ..Geometry::PLAIN }).contains("stride [0, 1]"));
        let huge = Geometry { padding: [usize::MAX, 0], ..Geometry::PLAIN };
        assert!(refuse(huge).contains("padding"));
        let error = geometry().transposed_output("ConvTranspose2d", [4, 4], KERNEL, [2, 0]);
        assert!(error.unwrap_err().to_string().contains("output_padding [2, 0]"));
    }
}
