//! Depthwise convolution: one filter per channel, so there is no product of matrices to make.
//!
//! The kernels walk a map in blocks of [`LANES`] channels. A block's rows are copied into a small
//! buffer with their padding, after which the inner loops have no borders and sums stay in
//! registers. The gradient of the input is the same correlation of the output's gradient, spread
//! apart by the stride, with the filter turned round.

pub(super) mod cuda;
mod plan;
pub(super) mod portable;
mod weights;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use plan::{Correlation, Form};

use super::geometry::Window;
use crate::cpu::{self, Acc as _, Aligned, Real, Vector, is_rounded};

pub(super) use weights::weight_gradient;

/// Channels that are computed together.
const LANES: usize = cpu::BLOCK;

/// Output pixels whose sums are kept in registers together.
const PIXELS: usize = 8;

/// Filters (C, taps) as (block, tap, lane); `turned` reverses the taps.
fn pack<T: Vector>(weight: &[T], channels: usize, taps: usize, turned: bool) -> Aligned<T> {
    let mut packed = Aligned::zeroed(channels.div_ceil(LANES) * taps * LANES);
    let blocks = packed.chunks_exact_mut(taps * LANES).zip(weight.chunks(taps * LANES));
    for (block, filters) in blocks {
        let (slots, _) = block.as_chunks_mut::<LANES>();
        for (lane, filter) in filters.chunks_exact(taps).enumerate() {
            for (tap, (slot, value)) in slots.iter_mut().zip(filter).enumerate() {
                slot[lane] = if turned { filter[taps - 1 - tap] } else { *value };
            }
        }
    }
    packed
}

/// x (B, H, W, C) with weight (C, kh, kw).
pub(super) fn correlate<E: Real<Acc: Vector>>(
    x: &[E],
    weight: &[E::Acc],
    bias: Option<&[E::Acc]>,
    window: &Window,
    channels: usize,
) -> Vec<E> {
    let weight = pack(weight, channels, window.taps(), false);
    run(&Correlation::forward(window, channels), x, &weight, bias)
}

/// The gradient of [`correlate`] with respect to x.
pub(super) fn input_gradient<E: Real<Acc: Vector>>(
    grad: &[E],
    weight: &[E::Acc],
    bias: Option<&[E::Acc]>,
    window: &Window,
    channels: usize,
) -> Vec<E> {
    let weight = pack(weight, channels, window.taps(), true);
    run(&Correlation::backward(window, channels), grad, &weight, bias)
}

fn run<E: Real<Acc: Vector>>(
    plan: &Correlation,
    x: &[E],
    weight: &[E::Acc],
    bias: Option<&[E::Acc]>,
) -> Vec<E> {
    let channels = plan.channels;
    let taps = plan.kernel[0] * plan.kernel[1];
    let image = plan.source[0] * plan.source[1] * channels;
    let row = plan.output[1] * channels;
    let mut output = cpu::unwritten::<E>(x.len() / image * plan.output[0] * row);
    let band = plan.band();
    let bands: Vec<&mut [E]> = output
        .chunks_mut(plan.output[0] * row)
        .flat_map(|image| image.chunks_mut(band * row))
        .collect();
    let places = plan.bands(x.len() / image);
    bands.into_par_iter().zip(places).for_each_init(
        || (plan.buffer(), plan.sums::<E>()),
        |(buffer, sums), (output, (index, first, rows))| {
            let x = &x[index * image..(index + 1) * image];
            for (block, weight) in weight.chunks_exact(taps * LANES).enumerate() {
                let channel = block * LANES;
                let lanes = LANES.min(channels - channel);
                let mut start = [E::Acc::ZERO; LANES];
                if let Some(bias) = bias {
                    start[..lanes].copy_from_slice(&bias[channel..channel + lanes]);
                }
                plan.fill(buffer, x, first, rows, channel);
                let output = &mut output[channel..];
                Arch::new().dispatch(Band {
                    plan,
                    buffer,
                    sums,
                    weight,
                    start,
                    output,
                    lanes,
                    first,
                    rows,
                });
            }
        },
    );
    output
}

/// A block of channels of some output rows of one image.
struct Band<'a, E: Real> {
    plan: &'a Correlation,
    /// What the rows read.
    buffer: &'a [E::Acc],
    /// Place for the sums, where they are rounded together.
    sums: &'a mut [E::Acc],
    weight: &'a [E::Acc],
    /// What sums start from.
    start: [E::Acc; LANES],
    /// From the first pixel's block on, of so many channels.
    output: &'a mut [E],
    lanes: usize,
    first: usize,
    rows: usize,
}

impl<E: Real<Acc: Vector>> WithSimd for Band<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, buffer, sums, weight, start, output, lanes, first, rows } = self;
        let channels = plan.channels;
        let columns = plan.output[1];
        // Tiles of near-equal size: 14 columns are 7 and 7, not 8 and 6.
        let tile = columns.div_ceil(columns.div_ceil(PIXELS));
        let (buffer, weight) = (E::Acc::split::<S>(buffer).0, E::Acc::split::<S>(weight).0);
        let start = E::Acc::split::<S>(&start).0;
        for row in 0..rows {
            for column in (0..columns).step_by(tile) {
                let pixels = tile.min(columns - column);
                let pixel = row * columns + column;
                let target = match is_rounded::<E>() {
                    true => Target::Sums(&mut sums[pixel * LANES..]),
                    false => Target::Output(&mut output[pixel * channels..], lanes),
                };
                let place = (first, row, column);
                macro_rules! sizes {
                    ($($size:literal)*) => { match pixels {
                        $($size => tile_of_pixels::<S, E, $size>(
                            simd, plan, buffer, weight, start, target, place,
                        ),)*
                        _ => unreachable!("a tile has at most {PIXELS} pixels"),
                    } };
                }
                sizes!(1 2 3 4 5 6 7 8);
            }
        }
        if is_rounded::<E>() {
            let sums = &sums.as_chunks::<LANES>().0[..rows * columns];
            E::round_blocks(output, channels, sums, lanes);
        }
    }
}

/// Where the sums of neighbouring pixels go.
enum Target<'a, E: Real> {
    /// [`LANES`] for each pixel, to be rounded with others.
    Sums(&'a mut [E::Acc]),
    /// The output from the first pixel's block on, of so many channels.
    Output(&'a mut [E], usize),
}

/// Registers that hold the channels of a block.
const fn registers<S: Simd, T: Vector>() -> usize {
    LANES * size_of::<T>() / size_of::<T::Of<S>>()
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "an inlined part of a loop")]
fn tile_of_pixels<S: Simd, E: Real<Acc: Vector>, const N: usize>(
    simd: S,
    plan: &Correlation,
    buffer: &[<E::Acc as Vector>::Of<S>],
    weight: &[<E::Acc as Vector>::Of<S>],
    start: &[<E::Acc as Vector>::Of<S>],
    mut target: Target<'_, E>,
    (top, row, column): (usize, usize, usize),
) {
    let width = plan.reach(1, plan.output[1]);
    let [stride_h, stride_w] = plan.stride;
    let taps = plan.kernel[1] * registers::<S, E::Acc>();
    let lines = plan.lines_of_map((top + row) * stride_h);
    let form = plan.form::<S>(N);
    for register in 0..registers::<S, E::Acc>() {
        let mut sums = [start[register]; N];
        // With the pixels that a line of the filter reads, and its weights.
        macro_rules! each_line {
            (|$pixels:ident, $weight:ident| $body:expr) => {
                for tap_h in lines.clone() {
                    let line = row * stride_h + tap_h * plan.dilation[0];
                    if plan.spread[0] != 1 && plan.is_padding(top * stride_h + line) {
                        continue;
                    }
                    let pixel = (line * width + column * stride_w) * registers::<S, E::Acc>();
                    let ($pixels, $weight) = (&buffer[pixel..], &weight[tap_h * taps..][..taps]);
                    $body
                }
            };
        }
        macro_rules! dense {
            ($kernel:literal, $whole:literal) => {
                each_line!(|pixels, weight| dense_line::<S, E::Acc, N, $kernel, $whole>(
                    simd, &mut sums, pixels, weight, register,
                ))
            };
        }
        match form {
            Form::Dense { kernel: 3, whole: true } => dense!(3, true),
            Form::Dense { kernel: 3, whole: false } => dense!(3, false),
            Form::Dense { kernel: 7, whole: true } => dense!(7, true),
            Form::Dense { kernel: 7, whole: false } => dense!(7, false),
            _ => each_line!(|pixels, weight| {
                for (tap_w, weight) in weight.chunks_exact(registers::<S, E::Acc>()).enumerate() {
                    let at = tap_w * plan.dilation[1] * registers::<S, E::Acc>();
                    let (pixels, weight) = (&pixels[at..], weight[register]);
                    accumulate::<S, E::Acc, N>(simd, &mut sums, pixels, weight, register, stride_w);
                }
            }),
        }
        match &mut target {
            Target::Sums(slots) => {
                let slots = E::Acc::split_mut::<S>(slots).0;
                let slots = &mut slots[..N * registers::<S, E::Acc>()];
                for (pixel, sum) in sums.iter().enumerate() {
                    slots[pixel * registers::<S, E::Acc>() + register] = *sum;
                }
            }
            Target::Output(output, lanes) => {
                let first = register * (LANES / registers::<S, E::Acc>());
                let len = (LANES / registers::<S, E::Acc>()).min(lanes.saturating_sub(first));
                for (pixel, sum) in sums.iter().enumerate() {
                    let output = &mut output[pixel * plan.channels..];
                    // The next block's.
                    cpu::fetch_to_write(output.as_mut_ptr().wrapping_add(LANES));
                    let output = &mut output[..*lanes][first.min(*lanes)..];
                    cpu::store_lanes::<S, E>(&mut output[..len], *sum);
                }
            }
        }
    }
}

/// The sums of `N` neighbouring pixels over one line of a filter of `K` taps: each pixel of the map is read
/// once. In a `WHOLE` line of the map pixels of the padding are left out.
#[inline(always)]
fn dense_line<S: Simd, T: Vector, const N: usize, const K: usize, const WHOLE: bool>(
    simd: S,
    sums: &mut [T::Of<S>; N],
    pixels: &[T::Of<S>],
    weight: &[T::Of<S>],
    register: usize,
) {
    let inside = |pixel: usize| !WHOLE || (pixel >= K / 2 && pixel < K / 2 + N);
    let pixels = &pixels[..(N + K - 1) * registers::<S, T>()];
    let weight = &weight[..K * registers::<S, T>()];
    let mut x = [sums[0]; PIXELS + 6];
    for (pixel, x) in x.iter_mut().enumerate().take(N + K - 1) {
        if inside(pixel) {
            *x = pixels[pixel * registers::<S, T>() + register];
        }
    }
    macro_rules! taps {
        ($($tap:literal)*) => { $(
            if $tap < K {
                let weight = weight[$tap * registers::<S, T>() + register];
                for (index, sum) in sums.iter_mut().enumerate() {
                    if inside(index + $tap) {
                        *sum = T::fused(simd, x[index + $tap], weight, *sum);
                    }
                }
            }
        )* };
    }
    taps!(0 1 2 3 4 5 6);
}

/// sums\[i\] += factor * pixels\[i * stride\], for one register of the block.
#[inline(always)]
fn accumulate<S: Simd, T: Vector, const N: usize>(
    simd: S,
    sums: &mut [T::Of<S>; N],
    pixels: &[T::Of<S>],
    factor: T::Of<S>,
    register: usize,
    stride: usize,
) {
    // The common stride as a constant, with which the compiler sees each access inside the slice.
    if stride == 1 {
        let pixels = &pixels[..N * registers::<S, T>()];
        for (index, sum) in sums.iter_mut().enumerate() {
            let pixel = pixels[index * registers::<S, T>() + register];
            *sum = T::fused(simd, pixel, factor, *sum);
        }
        return;
    }
    for (index, sum) in sums.iter_mut().enumerate() {
        let pixel = pixels[index * stride * registers::<S, T>() + register];
        *sum = T::fused(simd, pixel, factor, *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::noise;
    use crate::ops::geometry::Geometry;
    use crate::{Array, DType};

    /// Maps of several bands each, whose buffers then hold lines of the image before: against candle's
    /// operations in f64.
    #[test]
    fn bands_leave_nothing_to_the_next() {
        let plain = Geometry::PLAIN;
        for (size, kernel, geometry) in [
            ([70, 30], [7, 7], Geometry { padding: [3, 3], ..plain }),
            ([64, 40], [5, 3], Geometry { padding: [4, 1], dilation: [2, 1], ..plain }),
            ([90, 41], [3, 3], Geometry { padding: [1, 2], stride: [2, 2], ..plain }),
            ([5, 3], [7, 7], Geometry { padding: [6, 5], ..plain }),
        ] {
            let window = Window::new("Conv2d", size, kernel, &geometry).unwrap();
            let (batch, channels) = (3, 19);
            let plan = Correlation::forward(&window, channels);
            assert!(size[0] < 60 || plan.bands(1).len() > 1, "{size:?} is one band");
            let x = noise(&[batch, size[0], size[1], channels]);
            let weight = noise(&[channels, 1, kernel[0], kernel[1]]);
            let [height, width] = window.output;
            let grad = noise(&[batch, height, width, channels]);
            let exact = |x: &Array| x.to_dtype(DType::F64).unwrap();
            let flat = |x: &Array| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let floats = |x: &Array| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let agree = |name: &str, found: Vec<f32>, expected: Array| {
                let expected = flat(&expected);
                assert_eq!(found.len(), expected.len());
                let scale = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 1e-5 * scale, "{name} of {window:?}: {found}, {expected}");
                }
            };
            let (x_floats, weight_floats, grad_floats) =
                (floats(&x), floats(&weight), floats(&grad));
            let (x, weight, grad) = (exact(&x), exact(&weight), exact(&grad));
            agree(
                "result",
                correlate(&x_floats, &weight_floats, None, &window, channels),
                portable::correlate(&x, &weight, &window).unwrap(),
            );
            agree(
                "gradient of x",
                input_gradient(&grad_floats, &weight_floats, None, &window, channels),
                portable::input_gradient(&grad, &weight, &window).unwrap(),
            );
            agree(
                "gradient of the filters",
                weight_gradient(&x_floats, &grad_floats, &window, channels),
                portable::weight_gradient(&x, &grad, &window).unwrap(),
            );
        }
    }
}
