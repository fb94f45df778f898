//! The gradient of the filters.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::plan::{Correlation, widen};
use super::{LANES, accumulate, registers};
use crate::cpu::{Acc as _, Aligned, Real, Vector};
use crate::ops::geometry::Window;

/// The gradient of [`super::correlate`] with respect to the weight, (C, kh, kw).
pub(in crate::ops) fn weight_gradient<E: Real<Acc: Vector>>(
    x: &[E],
    grad: &[E],
    window: &Window,
    channels: usize,
) -> Vec<E::Acc> {
    let plan = Correlation::forward(window, channels);
    let image = plan.source[0] * plan.source[1] * channels;
    let taps = window.taps();
    let bands = plan.bands(x.len() / image);
    // A fixed partition: the order of the sums does not depend on which thread was free.
    let share = bands.len().div_ceil(rayon::current_num_threads());
    let partial: Vec<Aligned<E::Acc>> = bands
        .par_chunks(share)
        .map(|bands| {
            let mut sums = Aligned::zeroed(channels.div_ceil(LANES) * taps * LANES);
            let mut buffer = plan.buffer();
            let mut grads = Aligned::zeroed(plan.band() * plan.output[1] * LANES);
            for &(index, first, rows) in bands {
                let x = &x[index * image..(index + 1) * image];
                let start = (index * plan.output[0] + first) * plan.output[1] * channels;
                let grad = &grad[start..start + rows * plan.output[1] * channels];
                for (block, sums) in sums.chunks_exact_mut(taps * LANES).enumerate() {
                    let channel = block * LANES;
                    plan.fill(&mut buffer, x, first, rows, channel);
                    let pixels = grad[channel..].chunks(channels);
                    let lanes = LANES.min(channels - channel);
                    widen(grads.chunks_exact_mut(LANES), pixels, lanes);
                    Arch::new().dispatch(BandOfWeights {
                        plan: &plan,
                        buffer: &buffer,
                        grads: &grads[..rows * plan.output[1] * LANES],
                        sums,
                        first,
                    });
                }
            }
            sums
        })
        .collect();
    let mut weight = vec![E::Acc::ZERO; channels * taps];
    for (channel, filter) in weight.chunks_exact_mut(taps).enumerate() {
        for (tap, value) in filter.iter_mut().enumerate() {
            let place = (channel / LANES * taps + tap) * LANES + channel % LANES;
            *value = partial.iter().map(|sums| sums[place]).sum();
        }
    }
    weight
}

/// What a block of channels of some output rows of one image adds to the gradient of the weight.
struct BandOfWeights<'a, T> {
    plan: &'a Correlation,
    /// What the rows read.
    buffer: &'a [T],
    grads: &'a [T],
    sums: &'a mut [T],
    first: usize,
}

impl<T: Vector> WithSimd for BandOfWeights<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, buffer, grads, sums, first } = self;
        let kernel_w = plan.kernel[1];
        let (buffer, grads) = (T::split::<S>(buffer).0, T::split::<S>(grads).0);
        for (tap_h, sums) in sums.chunks_exact_mut(kernel_w * LANES).enumerate() {
            let sums = T::split_mut::<S>(sums).0;
            let mut tap_w = 0;
            while tap_w < kernel_w {
                let place = (first, tap_h, tap_w);
                let sums = &mut sums[tap_w * registers::<S, T>()..];
                tap_w += match kernel_w - tap_w {
                    7.. => row_of_taps::<S, T, 7>(simd, plan, buffer, grads, sums, place),
                    5.. => row_of_taps::<S, T, 5>(simd, plan, buffer, grads, sums, place),
                    3.. => row_of_taps::<S, T, 3>(simd, plan, buffer, grads, sums, place),
                    _ => row_of_taps::<S, T, 1>(simd, plan, buffer, grads, sums, place),
                };
            }
        }
    }
}

/// Adds the gradients of `N` neighbouring taps to `sums`; returns `N`.
#[inline(always)]
fn row_of_taps<S: Simd, T: Vector, const N: usize>(
    simd: S,
    plan: &Correlation,
    buffer: &[T::Of<S>],
    grads: &[T::Of<S>],
    sums: &mut [T::Of<S>],
    (top, tap_h, tap_w): (usize, usize, usize),
) -> usize {
    let width = plan.reach(1, plan.output[1]);
    let [stride_h, stride_w] = plan.stride;
    let [dilation_h, dilation_w] = plan.dilation;
    for register in 0..registers::<S, T>() {
        let mut local = [T::splat(simd, T::ZERO); N];
        for (row, grads) in grads.chunks_exact(plan.output[1] * registers::<S, T>()).enumerate() {
            let line = row * stride_h + tap_h * dilation_h;
            if plan.is_padding(top * stride_h + line) {
                continue;
            }
            let line = line * width + tap_w * dilation_w;
            for (column, grad) in grads.chunks_exact(registers::<S, T>()).enumerate() {
                let pixels = &buffer[(line + column * stride_w) * registers::<S, T>()..];
                let grad = grad[register];
                accumulate::<S, T, N>(simd, &mut local, pixels, grad, register, dilation_w);
            }
        }
        for (sums, local) in sums.chunks_exact_mut(registers::<S, T>()).zip(&local) {
            sums[register] = T::plus(simd, sums[register], *local);
        }
    }
    N
}
