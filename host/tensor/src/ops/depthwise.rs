//! Depthwise convolution: one filter per channel, so there is no product of matrices to make.
//!
//! The kernels walk a map in blocks of [`LANES`] channels. A block's rows are copied into a small
//! buffer with their padding, after which the inner loops have no borders and sums stay in
//! registers. The gradient of the input is the same correlation of the output's gradient, spread
//! apart by the stride, with the filter turned round.

pub(super) mod cuda;
pub(super) mod portable;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::Window;
use crate::cpu::{self, Acc as _, Aligned, Real, Vector, is_rounded};

/// Channels that are computed together.
const LANES: usize = cpu::BLOCK;

/// Output pixels whose sums are kept in registers together.
const PIXELS: usize = 8;

/// Elements of a buffer: it stays in the first-level cache with the weights.
const BUFFER: usize = 8192;

/// A correlation with stride over a map whose elements lie `spread` apart, after padding.
struct Correlation {
    source: [usize; 2],
    spread: [usize; 2],
    /// Where element 0 of the source lies; negative where padding turns into cropping.
    offset: [isize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    channels: usize,
}

/// How the pixels that a tile reads lie.
#[derive(Clone, Copy)]
enum Form {
    /// Anyhow.
    Any,
    /// Side by side, and a filter of so many taps reads each of them; `whole` if they are a line of the
    /// map, with half of a filter of padding on each side.
    Dense { kernel: usize, whole: bool },
}

impl Correlation {
    fn forward(window: &Window, channels: usize) -> Self {
        Self {
            source: window.input,
            spread: [1, 1],
            offset: window.padding.map(|padding| padding as isize),
            output: window.output,
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            channels,
        }
    }

    fn backward(window: &Window, channels: usize) -> Self {
        Self {
            source: window.output,
            spread: window.stride,
            offset: [0, 1].map(|axis| {
                (window.dilation[axis] * (window.kernel[axis] - 1)) as isize
                    - window.padding[axis] as isize
            }),
            output: window.input,
            kernel: window.kernel,
            stride: [1, 1],
            dilation: window.dilation,
            channels,
        }
    }

    /// Buffer positions that `outputs` windows in a line reach.
    fn reach(&self, axis: usize, outputs: usize) -> usize {
        (outputs - 1) * self.stride[axis] + self.dilation[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output rows that are computed from one filling of the buffer.
    fn band(&self) -> usize {
        let row = self.reach(1, self.output[1]) * LANES;
        let halo = self.dilation[0] * (self.kernel[0] - 1) + 1;
        let rows = (BUFFER / row).saturating_sub(halo) / self.stride[0] + 1;
        rows.max(halo).min(self.output[0])
    }

    /// The bands of all images: (image, first row, rows).
    fn bands(&self, batch: usize) -> Vec<(usize, usize, usize)> {
        let band = self.band();
        (0..batch)
            .flat_map(|image| {
                (0..self.output[0])
                    .step_by(band)
                    .map(move |first| (image, first, band.min(self.output[0] - first)))
            })
            .collect()
    }

    /// The taps, down the filter, of a window whose first line is `line` of the padded map, from the first
    /// one within the map to the last.
    #[inline(always)]
    fn lines_of_map(&self, line: usize) -> std::ops::Range<usize> {
        let dilation = self.dilation[0];
        let before = usize::try_from(self.offset[0] - line as isize).unwrap_or(0);
        let end = self.offset[0] + ((self.source[0] - 1) * self.spread[0]) as isize + 1;
        let left = usize::try_from(end - line as isize).unwrap_or(0);
        before.div_ceil(dilation)..left.div_ceil(dilation).min(self.kernel[0])
    }

    /// Whether a line of the padded map is none of the map's.
    #[inline(always)]
    fn is_padding(&self, line: usize) -> bool {
        let line = line as isize - self.offset[0];
        source(line, self.spread[0], self.source[0]).is_none()
    }

    /// How tiles of so many pixels are computed.
    #[inline(always)]
    fn form<S: Simd>(&self, pixels: usize) -> Form {
        let kernel = self.kernel[1];
        // With fewer registers the pixels would not stay in them.
        if S::REGISTER_COUNT < 32 || self.stride[1] != 1 || self.dilation[1] != 1 {
            return Form::Any;
        }
        let whole = self.output[1] == pixels
            && self.source[1] == pixels
            && self.spread[1] == 1
            && self.offset[1] == (kernel / 2) as isize;
        Form::Dense { kernel, whole }
    }

    fn buffer<T: Vector>(&self) -> Aligned<T> {
        Aligned::zeroed(self.reach(0, self.band()) * self.reach(1, self.output[1]) * LANES)
    }

    /// Place for the sums of a band, where they are rounded together.
    fn sums<E: Real<Acc: Vector>>(&self) -> Aligned<E::Acc> {
        let pixels = if is_rounded::<E>() { self.band() * self.output[1] } else { 0 };
        Aligned::zeroed(pixels * LANES)
    }

    /// Copies the channels from `first` of the rows that a band reads into the buffer. Its positions
    /// between and beside the pixels are and stay 0; lines of padding keep what they hold, for nobody
    /// reads them.
    fn fill<E: Real<Acc: Vector>>(
        &self,
        buffer: &mut [E::Acc],
        image: &[E],
        row: usize,
        rows: usize,
        first: usize,
    ) {
        let width = self.reach(1, self.output[1]);
        let (offset, spread) = (self.offset[1], self.spread[1]);
        let lanes = LANES.min(self.channels - first);
        // Pixels of a row that lie in the buffer, and the position of the first.
        let skipped = usize::try_from(-offset).unwrap_or(0).div_ceil(spread);
        let start = (offset + (skipped * spread) as isize) as usize;
        let pixels = width.saturating_sub(start).div_ceil(spread);
        let pixels = pixels.min(self.source[1].saturating_sub(skipped));
        if pixels == 0 {
            return;
        }
        let top = (row * self.stride[0]) as isize - self.offset[0];
        let lines = buffer.chunks_exact_mut(width * LANES).take(self.reach(0, rows));
        for (line, slots) in lines.enumerate() {
            let line = top + line as isize;
            let Some(y) = source(line, self.spread[0], self.source[0]) else { continue };
            let from = &image[(y * self.source[1] + skipped) * self.channels + first..];
            let slots = slots[start * LANES..].chunks_mut(spread * LANES);
            widen(slots, from.chunks(self.channels).take(pixels), lanes);
        }
    }
}

/// Widens so many channels of pixels, at most [`LANES`], each into the beginning of its slots.
#[inline(always)]
fn widen<'a, E: Real>(
    slots: impl Iterator<Item = &'a mut [E::Acc]>,
    pixels: impl Iterator<Item = &'a [E]>,
    lanes: usize,
) {
    // In a call of its own, for the compiler to see no more than this loop.
    cpu::vectorized(
        #[inline(always)]
        || {
            for (slots, pixel) in slots.zip(pixels) {
                // The next block's.
                cpu::fetch(pixel.as_ptr().wrapping_add(LANES));
                match (slots.first_chunk_mut::<LANES>(), pixel.first_chunk::<LANES>()) {
                    (Some(slots), Some(&pixel)) if lanes == LANES => {
                        // Of known length, over copies, which cannot be the same memory.
                        let mut wide = [E::Acc::ZERO; LANES];
                        for (slot, x) in wide.iter_mut().zip(pixel) {
                            *slot = x.acc();
                        }
                        *slots = wide;
                    }
                    _ => {
                        for (slot, x) in slots.iter_mut().zip(&pixel[..lanes]) {
                            *slot = x.acc();
                        }
                    }
                }
            }
        },
    );
}

/// The element of a spread map at `position`.
#[inline(always)]
fn source(position: isize, spread: usize, len: usize) -> Option<usize> {
    let position = usize::try_from(position).ok()?;
    if spread == 1 {
        return (position < len).then_some(position);
    }
    (position % spread == 0 && position / spread < len).then_some(position / spread)
}

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

/// The gradient of [`correlate`] with respect to the weight, (C, kh, kw).
pub(super) fn weight_gradient<E: Real<Acc: Vector>>(
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
