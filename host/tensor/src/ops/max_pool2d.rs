//! Max pooling over channels-last maps.

use rayon::prelude::*;

use super::geometry::{Window, map_dims};
use super::unfold::{fold_taps, taps};
use crate::cpu::{self, Acc, Cast, Elements, Real, vectorized};
use crate::{Array, DType, Result, Tensor, tape, with_real};

/// Largest of each window of x (B, H, W, C). Padding never wins; the gradient goes to the first of
/// equal elements; a window with a NaN gives NaN.
///
/// # Errors
/// x is no map of floats, the window is larger than the padded map, the padding is more than half
/// of the kernel, or a size is 0.
pub fn max_pool2d(
    x: &Tensor,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Tensor> {
    const OP: &str = "MaxPool2d";
    let array = x.array();
    let [_, height, width, _] = map_dims(OP, &array)?;
    let window = Window::pool(OP, [height, width], kernel, stride, padding)?;
    let dtype = array.dtype();
    if cpu::is_native(&array) {
        let (output, winners) = with_real!(OP, dtype, T => kernel_forward::<T>(&array, &window))?;
        return Ok(tape::record(OP, &[x], output, move |grad| {
            let grad = grad.cast(dtype)?;
            with_real!(OP, dtype, T => kernel_backward::<T>(&grad, &winners, &window))
                .map(|grad| vec![Some(grad)])
        }));
    }
    let output = portable(&array, &window)?;
    let saved = output.clone();
    Ok(tape::record(OP, &[x], output, move |grad| {
        let grad = portable_backward(&array, &saved, grad, &window)?;
        Ok(vec![Some(grad.cast(dtype)?)])
    }))
}

/// The maxima and, for each, which tap of its window won.
fn kernel_forward<T: Real>(x: &Array, window: &Window) -> Result<(Array, Vec<u32>)> {
    let (batch, height, width, channels) = x.dims4()?;
    let [outputs_h, outputs_w] = window.output;
    let mut output = cpu::unwritten::<T>(batch * outputs_h * outputs_w * channels);
    let mut winners = vec![0u32; output.len()];
    let row = outputs_w * channels;
    Elements::of(x)?.read(|x: &[T]| {
        let rows = output.par_chunks_mut(row).zip(winners.par_chunks_mut(row)).enumerate();
        rows.for_each(|(index, (output, winners))| {
            let (image, row) = (index / outputs_h, index % outputs_h);
            let pixels = output.chunks_exact_mut(channels).zip(winners.chunks_exact_mut(channels));
            for (column, (output, winners)) in pixels.enumerate() {
                let mut first = true;
                for tap in 0..window.taps() {
                    let y = window.source(0, row, tap / window.kernel[1]);
                    let position = window.source(1, column, tap % window.kernel[1]);
                    let (Some(y), Some(position)) = (y, position) else { continue };
                    let start = ((image * height + y) * width + position) * channels;
                    let pixel = &x[start..start + channels];
                    if first {
                        output.copy_from_slice(pixel);
                        winners.fill(tap as u32);
                    } else {
                        challenge(output, winners, pixel, tap as u32);
                    }
                    first = false;
                }
            }
        });
    })?;
    Ok((cpu::from_vec(output, (batch, outputs_h, outputs_w, channels))?, winners))
}

/// Replaces each maximum that `pixel` exceeds.
fn challenge<T: Real>(output: &mut [T], winners: &mut [u32], pixel: &[T], tap: u32) {
    vectorized(
        #[inline(always)]
        || {
            for ((best, winner), x) in output.iter_mut().zip(winners).zip(pixel) {
                let (value, holder) = (x.acc(), best.acc());
                let wins = value > holder || value.partial_cmp(&value).is_none();
                *best = if wins { *x } else { *best };
                *winner = if wins { tap } else { *winner };
            }
        },
    );
}

/// Each position gathers the gradients of the windows that it won.
fn kernel_backward<T: Real>(grad: &Array, winners: &[u32], window: &Window) -> Result<Array> {
    let (batch, outputs_h, outputs_w, channels) = grad.dims4()?;
    let [height, width] = window.input;
    let [kernel_h, kernel_w] = window.kernel;
    let mut output = vec![T::zero(); batch * height * width * channels];
    Elements::of(grad)?.read(|grad: &[T]| {
        output.par_chunks_mut(width * channels).enumerate().for_each(|(index, output)| {
            let (image, y) = (index / height, index % height);
            let mut sums = vec![T::Acc::ZERO; channels];
            for (position, output) in output.chunks_exact_mut(channels).enumerate() {
                sums.fill(T::Acc::ZERO);
                for tap in 0..kernel_h * kernel_w {
                    let row = window.reader(0, y, tap / kernel_w);
                    let column = window.reader(1, position, tap % kernel_w);
                    let (Some(row), Some(column)) = (row, column) else { continue };
                    let start = ((image * outputs_h + row) * outputs_w + column) * channels;
                    let at = start..start + channels;
                    let (grad, winners) = (&grad[at.clone()], &winners[at]);
                    vectorized(
                        #[inline(always)]
                        || {
                            for ((sum, grad), winner) in sums.iter_mut().zip(grad).zip(winners) {
                                let won = *winner == tap as u32;
                                *sum += if won { grad.acc() } else { T::Acc::ZERO };
                            }
                        },
                    );
                }
                output.iter_mut().zip(&sums).for_each(|(output, sum)| *output = T::round(*sum));
            }
        });
    })?;
    cpu::from_vec(output, (batch, height, width, channels))
}

fn portable(x: &Array, window: &Window) -> Result<Array> {
    let mut views = taps(x, window, f64::NEG_INFINITY)?.into_iter();
    let first = views.next().expect("a window has at least one tap").contiguous()?;
    Ok(views.try_fold(first, |best, view| best.maximum(&view.contiguous()?))?)
}

fn portable_backward(x: &Array, best: &Array, grad: &Array, window: &Window) -> Result<Array> {
    let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let grad = grad.cast(wide)?;
    let mut free = grad.ones_like()?;
    let views = taps(x, window, f64::NEG_INFINITY)?
        .into_iter()
        .map(|view| {
            let won = (view.contiguous()?.eq(best)?.cast(wide)? * &free)?;
            free = (&free - &won)?;
            Ok((&grad * won)?)
        })
        .collect::<Result<Vec<_>>>()?;
    fold_taps(&views, window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        let case = || Case::of(&[&[2, 5, 6, 2]]).without_bf16();
        check(case(), |x| max_pool2d(&x[0], [3, 2], [2, 1], [1, 1]));
        check(case(), |x| max_pool2d(&x[0], [2, 2], [3, 2], [0, 0]));
        check(case(), |x| max_pool2d(&x[0], [3, 3], [1, 1], [1, 1]));
    }

    #[test]
    fn the_first_of_equals_gets_the_gradient() {
        for (portable, dtype) in
            [(false, DType::F32), (false, DType::BF16), (true, DType::F32), (true, DType::BF16)]
        {
            scope(Mode { portable, ..current() }, || {
                let x = Array::full(-3f32, (1, 2, 2, 2), &Device::Cpu).unwrap();
                let x = tape::input(x.to_dtype(dtype).unwrap());
                let y = max_pool2d(&x, [2, 2], [2, 2], [1, 1]).unwrap();
                let values = |x: &Array| {
                    let x = x.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
                    x.to_vec1::<f32>().unwrap()
                };
                assert_eq!(values(&y.array()), [-3.0; 8], "padding never wins");
                let y = max_pool2d(&x, [2, 2], [1, 1], [0, 0]).unwrap();
                let ones = y.array().ones_like().unwrap();
                let grads = tape::backward_from(
                    &[(y, ones)],
                    std::slice::from_ref(&x),
                    &mut Default::default(),
                );
                let grad = grads.unwrap().remove(0).unwrap();
                assert_eq!(values(&grad), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            });
        }
    }

    #[test]
    fn a_nan_is_not_hidden() {
        let x = Array::new(&[f32::NAN, 1.0, 2.0, 3.0], &Device::Cpu).unwrap();
        let x = Tensor::constant(x.reshape((1, 2, 2, 1)).unwrap());
        let y = max_pool2d(&x, [2, 2], [2, 2], [0, 0]).unwrap();
        assert!(y.scalar().unwrap().is_nan());
    }

    #[test]
    fn misfits_are_named() {
        let x = Tensor::constant(Array::ones((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap());
        let refuse = |kernel, stride, padding| {
            max_pool2d(&x, kernel, stride, padding).unwrap_err().to_string()
        };
        assert!(refuse([3, 3], [1, 1], [0, 0]).contains("a map of 2x2"));
        assert!(refuse([3, 3], [1, 1], [2, 2]).contains("padding [2, 2]; expected at most half"));
    }
}
