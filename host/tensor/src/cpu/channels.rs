//! Statistics and affine maps per channel, over the rows of a channels-last array.
//!
//! Sums run over blocks of rows of a fixed size and are merged in order, so they do not depend on
//! the number of threads; a block is read from cache the second time.

use rayon::prelude::*;

use super::{Acc, Real, vectorized};

/// Elements of a block of rows.
const BLOCK: usize = 32 * 1024;

fn block(channels: usize) -> usize {
    (BLOCK / channels).max(1) * channels
}

/// The mean and the sum of squared deviations of each channel.
pub struct Moments<A> {
    /// Means.
    pub mean: Vec<A>,
    /// Sums of (x - mean)^2.
    pub square: Vec<A>,
}

/// Moments of rows of `channels` elements: two passes per block, blocks merged in f64 (Chan et al.,
/// 1983), so that a mean far from 0 costs no digits.
pub fn channel_moments<T: Real>(x: &[T], channels: usize) -> Moments<T::Acc> {
    let blocks: Vec<(usize, Moments<T::Acc>)> = x
        .par_chunks(block(channels))
        .map(|x| {
            (
                x.len() / channels,
                vectorized(
                    #[inline(always)]
                    || block_moments(x, channels),
                ),
            )
        })
        .collect();
    let (mut count, mut mean, mut square) = (0.0, vec![0.0; channels], vec![0.0; channels]);
    for (rows, block) in blocks {
        let rows = rows as f64;
        let total = count + rows;
        for channel in 0..channels {
            let delta = block.mean[channel].f64() - mean[channel];
            mean[channel] += delta * rows / total;
            square[channel] += block.square[channel].f64() + delta * delta * count * rows / total;
        }
        count = total;
    }
    let narrow = |values: Vec<f64>| values.into_iter().map(T::Acc::of).collect();
    Moments { mean: narrow(mean), square: narrow(square) }
}

#[inline(always)]
fn block_moments<T: Real>(x: &[T], channels: usize) -> Moments<T::Acc> {
    let mut mean = block_sums(x, channels);
    let rows = T::Acc::of((x.len() / channels) as f64);
    mean.iter_mut().for_each(|mean| *mean = *mean / rows);
    let mut square = vec![T::Acc::ZERO; channels];
    for row in x.chunks_exact(channels) {
        for ((square, mean), x) in square.iter_mut().zip(&mean).zip(row) {
            let deviation = x.acc() - *mean;
            *square += deviation * deviation;
        }
    }
    Moments { mean, square }
}

#[inline(always)]
fn block_sums<T: Real>(x: &[T], channels: usize) -> Vec<T::Acc> {
    let mut sums = vec![T::Acc::ZERO; channels];
    for row in x.chunks_exact(channels) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x.acc();
        }
    }
    sums
}

/// The sum of each channel.
pub fn channel_sums<T: Real>(x: &[T], channels: usize) -> Vec<T::Acc> {
    let blocks: Vec<Vec<T::Acc>> = x
        .par_chunks(block(channels))
        .map(|x| {
            vectorized(
                #[inline(always)]
                || block_sums(x, channels),
            )
        })
        .collect();
    merge(blocks, channels)
}

/// For each channel the sum of `grad` and the sum of `grad` (x - mean).
pub fn channel_products<T: Real>(
    x: &[T],
    grad: &[T],
    mean: &[T::Acc],
) -> (Vec<T::Acc>, Vec<T::Acc>) {
    let channels = mean.len();
    let run = |(x, grad): (&[T], &[T])| {
        let mut sums = vec![T::Acc::ZERO; channels];
        let mut products = vec![T::Acc::ZERO; channels];
        vectorized(
            #[inline(always)]
            || {
                for (x, grad) in x.chunks_exact(channels).zip(grad.chunks_exact(channels)) {
                    let out = sums.iter_mut().zip(&mut products).zip(mean);
                    for (((sum, product), mean), (x, grad)) in out.zip(x.iter().zip(grad)) {
                        *sum += grad.acc();
                        *product += grad.acc() * (x.acc() - *mean);
                    }
                }
            },
        );
        (sums, products)
    };
    let size = block(channels);
    let (sums, products) = x.par_chunks(size).zip(grad.par_chunks(size)).map(run).unzip();
    (merge(sums, channels), merge(products, channels))
}

fn merge<A: Acc>(blocks: Vec<Vec<A>>, channels: usize) -> Vec<A> {
    (0..channels)
        .map(|channel| A::of(blocks.iter().map(|block| block[channel].f64()).sum()))
        .collect()
}

/// (x - mean) scale + shift, per channel.
pub fn channel_affine<T: Real>(
    x: &[T],
    output: &mut [T],
    mean: &[T::Acc],
    scale: &[T::Acc],
    shift: &[T::Acc],
) {
    let channels = mean.len();
    let run = |(output, x): (&mut [T], &[T])| {
        vectorized(
            #[inline(always)]
            || {
                for (output, x) in output.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    let channel = mean.iter().zip(scale).zip(shift);
                    for ((output, x), ((mean, scale), shift)) in
                        output.iter_mut().zip(x).zip(channel)
                    {
                        *output = T::round((x.acc() - *mean).mul_add(*scale, *shift));
                    }
                }
            },
        );
    };
    let size = block(channels);
    output.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(run);
}

/// a grad + b (x - mean) + c, per channel.
pub fn channel_combine<T: Real>(
    x: &[T],
    grad: &[T],
    output: &mut [T],
    mean: &[T::Acc],
    [a, b, c]: [&[T::Acc]; 3],
) {
    let channels = mean.len();
    let run = |((output, x), grad): ((&mut [T], &[T]), &[T])| {
        vectorized(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(channels).zip(grad.chunks_exact(channels));
                for (output, (x, grad)) in output.chunks_exact_mut(channels).zip(rows) {
                    let channel = mean.iter().zip(a).zip(b.iter().zip(c));
                    for ((output, (x, grad)), ((mean, a), (b, c))) in
                        output.iter_mut().zip(x.iter().zip(grad)).zip(channel)
                    {
                        let centred = x.acc() - *mean;
                        *output = T::round(grad.acc().mul_add(*a, centred.mul_add(*b, *c)));
                    }
                }
            },
        );
    };
    let size = block(channels);
    let inputs = x.par_chunks(size).zip(grad.par_chunks(size));
    output
        .par_chunks_mut(size)
        .zip(inputs)
        .for_each(|(output, (x, grad))| run(((output, x), grad)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One large block of sums of squares would have no digit of the variance left.
    #[test]
    fn moments_keep_their_digits_far_from_zero() {
        let rows = 40_000;
        let x: Vec<f32> =
            (0..rows).flat_map(|i| [1000.0 + (i % 4) as f32, (i % 2) as f32 - 0.5]).collect();
        let moments = channel_moments(&x, 2);
        assert_eq!(moments.mean, [1001.5, 0.0]);
        for (square, variance) in moments.square.iter().zip([1.25, 0.25]) {
            assert!((square / rows as f32 - variance).abs() < 1e-4, "{square}");
        }
    }
}
