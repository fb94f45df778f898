//! Average pooling over channels-last maps, and the means over boxes that it shares with
//! [`super::adaptive_avg_pool2d`].

use rayon::prelude::*;

use super::geometry::{Window, map_dims};
use super::matmul::product;
use crate::cpu::{self, Acc, Cast, Elements, Real, vectorized};
use crate::{Array, DType, Result, Tensor, tape, with_real};

/// Mean of each window of x (B, H, W, C); the padding counts as zeros with `count_include_pad`,
/// else not at all.
///
/// # Errors
/// x is no map of floats, the window is larger than the padded map, the padding is more than half
/// of the kernel, or a size is 0.
pub fn avg_pool2d(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_include_pad: bool,
) -> Result<Tensor> {
    const OP: &str = "AvgPool2d";
    let [_, height, width, _] = map_dims(OP, &x.array())?;
    let window = Window::pool(OP, [height, width], kernel, stride, padding)?;
    let boxes = [0, 1].map(|axis| {
        let ranges = (0..window.output[axis]).map(|output| {
            let start = output * stride[axis];
            let end = (start + kernel[axis]).saturating_sub(padding[axis]).min(window.input[axis]);
            (start.saturating_sub(padding[axis]), end)
        });
        Bins::new(window.input[axis], ranges, count_include_pad.then_some(kernel[axis]))
    });
    mean_of_boxes(OP, x, boxes)
}

/// The positions of one axis that each output takes the mean of.
pub(super) struct Bins {
    /// First and behind the last position of each output; both ascend.
    ranges: Vec<(usize, usize)>,
    /// What the sum over a range is multiplied with.
    scales: Vec<f64>,
    /// First and behind the last output that reads each position.
    readers: Vec<(usize, usize)>,
}

impl Bins {
    /// Bins over `input` positions; the sums are divided by `count`, or else by what a bin holds.
    pub fn new(
        input: usize,
        ranges: impl Iterator<Item = (usize, usize)>,
        count: Option<usize>,
    ) -> Self {
        let ranges: Vec<(usize, usize)> = ranges.collect();
        let scales =
            ranges.iter().map(|(start, end)| 1.0 / count.unwrap_or(end - start) as f64).collect();
        let readers = (0..input)
            .map(|position| {
                let first = ranges.partition_point(|(_, end)| *end <= position);
                (first, ranges.partition_point(|(start, _)| *start <= position).max(first))
            })
            .collect();
        Self { ranges, scales, readers }
    }

    /// The matrix (outputs, inputs) that takes the means.
    fn matrix(&self, like: &Array) -> Result<Array> {
        let dtype = if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let (outputs, inputs) = (self.ranges.len(), self.readers.len());
        let mut matrix = vec![0.0; outputs * inputs];
        for (output, ((start, end), scale)) in self.ranges.iter().zip(&self.scales).enumerate() {
            matrix[output * inputs + start..output * inputs + end].fill(*scale);
        }
        let matrix = Array::from_vec(matrix, (outputs, inputs), like.device())?;
        matrix.cast(dtype)
    }
}

/// The mean of x (B, H, W, C) over the boxes of the bins of both axes.
pub(super) fn mean_of_boxes(op: &'static str, x: &Tensor, bins: [Bins; 2]) -> Result<Tensor> {
    let array = x.array();
    let output = if cpu::is_native(&array) {
        with_real!(op, array.dtype(), T => kernel::<T>(&array, &bins))?
    } else {
        separable(&array, &[bins[0].matrix(&array)?, bins[1].matrix(&array)?])?
    };
    let dtype = array.dtype();
    Ok(tape::record(op, &[x], output, move |grad| {
        let grad = grad.cast(dtype)?;
        let grad = if cpu::is_native(&grad) {
            with_real!(op, dtype, T => kernel_backward::<T>(&grad, &bins))?
        } else {
            separable(&grad, &[bins[0].matrix(&grad)?.t()?, bins[1].matrix(&grad)?.t()?])?
        };
        Ok(vec![Some(grad)])
    }))
}

fn kernel<T: Real>(x: &Array, [rows, columns]: &[Bins; 2]) -> Result<Array> {
    let (batch, height, width, channels) = x.dims4()?;
    let shape = (batch, rows.ranges.len(), columns.ranges.len(), channels);
    let mut output = cpu::unwritten::<T>(shape.0 * shape.1 * shape.2 * channels);
    Elements::of(x)?.read(|x: &[T]| {
        output.par_chunks_mut(shape.2 * channels).enumerate().for_each(|(index, output)| {
            let (image, row) = (index / shape.1, index % shape.1);
            let (top, bottom) = rows.ranges[row];
            let mut sums = vec![T::Acc::ZERO; channels];
            for (column, output) in output.chunks_exact_mut(channels).enumerate() {
                let (left, right) = columns.ranges[column];
                sums.fill(T::Acc::ZERO);
                for y in top..bottom {
                    let line = (image * height + y) * width;
                    let pixels = &x[(line + left) * channels..(line + right) * channels];
                    add_pixels(&mut sums, pixels);
                }
                let scale = T::Acc::of(rows.scales[row] * columns.scales[column]);
                for (output, sum) in output.iter_mut().zip(&sums) {
                    *output = T::round(*sum * scale);
                }
            }
        });
    })?;
    cpu::from_vec(output, shape)
}

/// Adds each pixel to the sums of its channels.
fn add_pixels<T: Real>(sums: &mut [T::Acc], pixels: &[T]) {
    vectorized(
        #[inline(always)]
        || {
            for pixel in pixels.chunks_exact(sums.len()) {
                for (sum, x) in sums.iter_mut().zip(pixel) {
                    *sum += x.acc();
                }
            }
        },
    );
}

fn kernel_backward<T: Real>(grad: &Array, [rows, columns]: &[Bins; 2]) -> Result<Array> {
    let (batch, outputs_h, outputs_w, channels) = grad.dims4()?;
    let shape = (batch, rows.readers.len(), columns.readers.len(), channels);
    let mut output = cpu::unwritten::<T>(shape.0 * shape.1 * shape.2 * channels);
    Elements::of(grad)?.read(|grad: &[T]| {
        output.par_chunks_mut(shape.2 * channels).enumerate().for_each(|(index, output)| {
            let (image, y) = (index / shape.1, index % shape.1);
            let (top, bottom) = rows.readers[y];
            let mut sums = vec![T::Acc::ZERO; channels];
            for (x, output) in output.chunks_exact_mut(channels).enumerate() {
                let (left, right) = columns.readers[x];
                sums.fill(T::Acc::ZERO);
                for row in top..bottom {
                    for column in left..right {
                        let start = ((image * outputs_h + row) * outputs_w + column) * channels;
                        let scale = T::Acc::of(rows.scales[row] * columns.scales[column]);
                        let grad = &grad[start..start + channels];
                        vectorized(
                            #[inline(always)]
                            || {
                                for (sum, grad) in sums.iter_mut().zip(grad) {
                                    *sum = grad.acc().mul_add(scale, *sum);
                                }
                            },
                        );
                    }
                }
                output.iter_mut().zip(&sums).for_each(|(output, sum)| *output = T::round(*sum));
            }
        });
    })?;
    cpu::from_vec(output, shape)
}

/// Rows, then columns, times a matrix.
fn separable(x: &Array, [rows, columns]: &[Array; 2]) -> Result<Array> {
    let (batch, height, width, channels) = x.dims4()?;
    let (outputs_h, outputs_w) = (rows.dims()[0], columns.dims()[0]);
    let lines = x.cast(rows.dtype())?.contiguous()?.reshape((batch, height, width * channels))?;
    let lines = product(rows, &lines)?.reshape((batch * outputs_h, width, channels))?;
    let map = product(columns, &lines)?.reshape((batch, outputs_h, outputs_w, channels))?;
    map.cast(x.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        for count_include_pad in [false, true] {
            check(Case::of(&[&[2, 5, 6, 2]]), |x| {
                avg_pool2d(&x[0], [3, 2], [2, 1], [1, 1], count_include_pad)
            });
        }
        check(Case::of(&[&[2, 7, 4, 3]]), |x| avg_pool2d(&x[0], [2, 2], [3, 2], [0, 0], true));
    }

    #[test]
    fn padding_counts_only_where_asked() {
        let x = Tensor::constant(Array::ones((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap());
        let corner = |count_include_pad| {
            let y = avg_pool2d(&x, [2, 2], [2, 2], [1, 1], count_include_pad).unwrap();
            y.array().flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
        };
        assert_eq!((corner(true), corner(false)), (0.25, 1.0));
    }

    #[test]
    fn misfits_are_named() {
        let x = Tensor::constant(Array::ones((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap());
        let refuse = |kernel, stride, padding| {
            avg_pool2d(&x, kernel, stride, padding, true).unwrap_err().to_string()
        };
        assert!(refuse([3, 3], [1, 1], [0, 0]).contains("a map of 2x2"));
        assert!(refuse([2, 2], [1, 1], [2, 0]).contains("padding [2, 0]; expected at most half"));
        assert!(refuse([2, 2], [0, 1], [0, 0]).contains("stride [0, 1]"));
    }
}
