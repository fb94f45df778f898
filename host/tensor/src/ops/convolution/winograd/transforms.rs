//! Between maps or weights and points, in registers of channels: each of these walks some tiles, or the
//! weights of some outputs.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::filtering::Filtering;
use super::{Order, Piece, Plan};
use crate::cpu::{Aligned, BLOCK, Real, is_rounded, load_lanes, store_lanes};
use crate::ops::convolution::Convolution;

/// Inputs whose weights are brought in order at a time.
const RUN: usize = 16;

/// Applies what is done along one axis to both, in each lane. Plain loops: a closure that is not inlined
/// would be compiled without the instructions that were chosen.
#[inline(always)]
fn both_axes<V: Copy, const R: usize, const K: usize>(
    zero: V,
    axis: impl Fn([V; K]) -> [V; R],
    load: impl Fn(usize, usize) -> V,
    mut store: impl FnMut(usize, usize, V),
) {
    // Zeros would be written by a call that takes as long as the sums.
    let mut half = [[MaybeUninit::<V>::uninit(); K]; R];
    #[allow(clippy::needless_range_loop, reason = "the column indexes each row")]
    for column in 0..K {
        let mut x = [zero; K];
        for (row, x) in x.iter_mut().enumerate() {
            *x = load(row, column);
        }
        let line = axis(x);
        for row in 0..R {
            half[row][column].write(line[row]);
        }
    }
    for (row, half) in half.iter().enumerate() {
        let mut x = [zero; K];
        for (x, half) in x.iter_mut().zip(half) {
            // SAFETY: each row of each column was written above.
            *x = unsafe { half.assume_init() };
        }
        let line = axis(x);
        for (column, value) in line.iter().enumerate() {
            store(row, column, *value);
        }
    }
}

/// Offsets of a square of pixels of a map (H, W, channels) from (top, left) on, negative where padding
/// begins before the map; none outside.
#[inline(always)]
fn square<const N: usize>(
    [height, width]: [usize; 2],
    channels: usize,
    image: usize,
    [top, left]: [isize; 2],
) -> [[Option<usize>; N]; N] {
    let mut places = [[None; N]; N];
    for (row, places) in places.iter_mut().enumerate() {
        let y = top + row as isize;
        for (column, place) in places.iter_mut().enumerate() {
            let x = left + column as isize;
            if y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width {
                *place = Some(((image * height + y as usize) * width + x as usize) * channels);
            }
        }
    }
    places
}

/// Takes the pixels at `places` of a map to the points, along both axes and for all channels, as one tile
/// of each point's (tiles, channels).
#[inline(always)]
#[allow(clippy::redundant_closure, reason = "a reference in its place takes four times as long")]
fn to_points<S: Simd, T: Real<Acc = f32>, const K: usize, const N: usize>(
    simd: S,
    axis: impl Fn([S::f32s; K]) -> [S::f32s; N],
    (map, channels): (&[T], usize),
    places: [[Option<usize>; K]; K],
    (points, tile): (&mut [&mut [f32]], usize),
) {
    for channel in (0..channels).step_by(S::F32_LANES) {
        let lanes = S::F32_LANES.min(channels - channel);
        let at = tile * channels + channel;
        both_axes(
            simd.splat_f32s(0.0),
            #[inline(always)]
            |x| axis(x),
            #[inline(always)]
            |row, column| match places[row][column] {
                Some(place) => load_lanes::<S, T>(simd, &map[place + channel..][..lanes]),
                None => simd.splat_f32s(0.0),
            },
            #[inline(always)]
            |row, column, value| {
                store_lanes::<S, f32>(&mut points[row * N + column][at..][..lanes], value);
            },
        );
    }
}

/// Evaluates tiles of the map x at the points.
pub(super) struct Evaluate<'a, T, F, const M: usize, const N: usize> {
    pub plan: &'a Plan,
    pub x: &'a [T],
    pub piece: Piece,
    /// (tiles, inputs) of each pair of points.
    pub points: Vec<&'a mut [f32]>,
    pub of: PhantomData<F>,
}

impl<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize> WithSimd
    for Evaluate<'_, T, F, M, N>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, x, piece, mut points, .. } = self;
        let Convolution { window, inputs, .. } = plan.convolution;
        for (tile, [image, row, column]) in piece.tiles(plan.grid[1]).enumerate() {
            let corner = [row, column].map(|index| (M * index) as isize);
            let corner = [0, 1].map(|axis| corner[axis] - window.padding[axis] as isize);
            to_points::<S, T, N, N>(
                simd,
                #[inline(always)]
                |x| F::evaluate(simd, x),
                (x, inputs),
                square(window.input, inputs, image, corner),
                (&mut points, tile),
            );
        }
    }
}

/// Evaluates tiles of the output's gradient, as the transpose of [`Interpolate`].
pub(super) struct Spread<'a, T, F, const M: usize, const N: usize> {
    pub plan: &'a Plan,
    pub grad: &'a [T],
    pub piece: Piece,
    /// (tiles, outputs) of each pair of points.
    pub points: Vec<&'a mut [f32]>,
    pub of: PhantomData<F>,
}

impl<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize> WithSimd
    for Spread<'_, T, F, M, N>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, grad, piece, mut points, .. } = self;
        let Convolution { window, outputs, .. } = plan.convolution;
        for (tile, [image, row, column]) in piece.tiles(plan.grid[1]).enumerate() {
            let corner = [row, column].map(|index| (M * index) as isize);
            to_points::<S, T, M, N>(
                simd,
                #[inline(always)]
                |x| F::spread(simd, x),
                (grad, outputs),
                square(window.output, outputs, image, corner),
                (&mut points, tile),
            );
        }
    }
}

/// Interpolates the products to tiles of the output.
pub(super) struct Interpolate<'a, T, F, const M: usize, const N: usize> {
    pub plan: &'a Plan,
    /// (tiles, outputs) of each pair of points, which are so far apart.
    pub products: &'a [f32],
    pub distance: usize,
    pub bias: Option<&'a [f32]>,
    pub piece: Piece,
    /// The rows of the output that the piece covers.
    pub output: &'a mut [T],
    pub of: PhantomData<F>,
}

impl<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize> WithSimd
    for Interpolate<'_, T, F, M, N>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan, products, distance, bias, piece, output, .. } = self;
        let Convolution { window, outputs, .. } = plan.convolution;
        let [height, width] = window.output;
        let before = (piece.image * height + M * piece.row) * width * outputs;
        // Of a tile, to be rounded when all are there: in between that would empty the registers.
        let mut sums = [[[0.0; BLOCK]; M]; M];
        for (tile, [image, row, column]) in piece.tiles(plan.grid[1]).enumerate() {
            let corner = [row, column].map(|index| (M * index) as isize);
            let places = square::<M>(window.output, outputs, image, corner);
            for channel in (0..outputs).step_by(S::F32_LANES) {
                let lanes = S::F32_LANES.min(outputs - channel);
                let at = tile * outputs + channel;
                let bias = match bias {
                    Some(bias) => load_lanes::<S, f32>(simd, &bias[channel..][..lanes]),
                    None => simd.splat_f32s(0.0),
                };
                both_axes(
                    simd.splat_f32s(0.0),
                    #[inline(always)]
                    |x| F::interpolate(simd, x),
                    #[inline(always)]
                    |row, column| {
                        let start = (row * N + column) * distance + at;
                        load_lanes::<S, f32>(simd, &products[start..][..lanes])
                    },
                    #[inline(always)]
                    |row, column, value| {
                        let value = simd.add_f32s(value, bias);
                        if is_rounded::<T>() {
                            let slots = &mut sums[row][column][..S::F32_LANES];
                            store_lanes::<S, f32>(slots, value);
                        } else if let Some(place) = places[row][column] {
                            let slots = &mut output[place - before + channel..][..lanes];
                            store_lanes::<S, T>(slots, value);
                        }
                    },
                );
                if !is_rounded::<T>() {
                    continue;
                }
                for (sums, place) in sums.as_flattened().iter().zip(places.as_flattened()) {
                    if let Some(place) = place {
                        let slots = &mut output[place - before + channel..][..lanes];
                        T::round_row(slots, sums);
                    }
                }
            }
        }
    }
}

/// Evaluates the weights of a panel of outputs.
pub(super) struct Weights<'a, T, F, const M: usize, const N: usize> {
    pub weight: &'a [T],
    pub order: Order,
    /// Inputs and outputs.
    pub sizes: [usize; 2],
    /// The outputs of the panel: the first, how many, and for how many there is room.
    pub first: usize,
    pub lanes: usize,
    pub width: usize,
    /// (inputs, width) of each pair of points.
    pub points: Vec<&'a mut [f32]>,
    pub of: PhantomData<F>,
}

impl<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize> WithSimd
    for Weights<'_, T, F, M, N>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            weight, order, sizes: [inputs, outputs], first, lanes, width, mut points, ..
        } = self;
        // (input, tap, output).
        let mut ordered = Aligned::zeroed(RUN * 9 * width);
        for start in (0..inputs).step_by(RUN) {
            let run = RUN.min(inputs - start);
            match order {
                Order::Plain => {
                    for lane in 0..lanes {
                        let line = &weight[((first + lane) * inputs + start) * 9..][..run * 9];
                        for (at, value) in line.iter().enumerate() {
                            ordered[at * width + lane] = value.acc();
                        }
                    }
                }
                Order::Turned => {
                    for input in 0..run {
                        let line = &weight[((start + input) * outputs + first) * 9..][..lanes * 9];
                        for (lane, taps) in line.chunks_exact(9).enumerate() {
                            for (tap, value) in taps.iter().rev().enumerate() {
                                ordered[(input * 9 + tap) * width + lane] = value.acc();
                            }
                        }
                    }
                }
            }
            for input in 0..run {
                for lane in (0..width).step_by(S::F32_LANES) {
                    let at = (start + input) * width + lane;
                    both_axes(
                        simd.splat_f32s(0.0),
                        #[inline(always)]
                        |x| F::weight(simd, x),
                        #[inline(always)]
                        |row, column| {
                            let tap = input * 9 + row * 3 + column;
                            let from = &ordered[tap * width + lane..][..S::F32_LANES];
                            load_lanes::<S, f32>(simd, from)
                        },
                        #[inline(always)]
                        |row, column, value| {
                            let slots = &mut points[row * N + column][at..][..S::F32_LANES];
                            store_lanes::<S, f32>(slots, value);
                        },
                    );
                }
            }
        }
    }
}

/// From sums at the points to the gradients of one output's weights, as the transpose of [`Weights`].
pub(super) struct Unweighted<'a, F, const M: usize, const N: usize> {
    /// (points, outputs, inputs).
    pub sums: &'a [f32],
    /// Where this output begins, and how far apart points lie.
    pub place: usize,
    pub distance: usize,
    /// (inputs, 3, 3).
    pub weight: &'a mut [f32],
    pub of: PhantomData<F>,
}

impl<F: Filtering<M, N>, const M: usize, const N: usize> WithSimd for Unweighted<'_, F, M, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, place, distance, weight, .. } = self;
        let mut ordered = Aligned::zeroed(9 * S::F32_LANES);
        for (index, weight) in weight.chunks_mut(9 * S::F32_LANES).enumerate() {
            let lanes = weight.len() / 9;
            let at = place + index * S::F32_LANES;
            both_axes(
                simd.splat_f32s(0.0),
                #[inline(always)]
                |x| F::unweighted(simd, x),
                #[inline(always)]
                |row, column| {
                    let start = (row * N + column) * distance + at;
                    load_lanes::<S, f32>(simd, &sums[start..][..lanes])
                },
                #[inline(always)]
                |row, column, value| {
                    let slots = &mut ordered[(row * 3 + column) * S::F32_LANES..];
                    store_lanes::<S, f32>(&mut slots[..S::F32_LANES], value);
                },
            );
            for (lane, taps) in weight.chunks_exact_mut(9).enumerate() {
                for (tap, slot) in taps.iter_mut().enumerate() {
                    *slot = ordered[tap * S::F32_LANES + lane];
                }
            }
        }
    }
}
