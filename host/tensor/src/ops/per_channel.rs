//! What [`super::batch_norm`] and [`super::group_norm`] share: statistics and affine maps per sample
//! and channel, over rows (S, N, C). Batch norm is one sample of all rows, group norm a sample per
//! image. Statistics are (S, C), f64 for f64 and f32 for all others.

mod cuda;

use rayon::prelude::*;

use crate::cpu::{self, Cast, Elements, Real};
use crate::{Array, DType, Error, Result, Tensor, with_real};

/// The type of the statistics of `x`.
pub(super) fn wide(x: &Array) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// A vector of one value per channel as (1, C) in the type of the statistics of `x`.
pub(super) fn vector(
    op: &'static str,
    name: &str,
    vector: &Tensor,
    x: &Array,
    channels: usize,
) -> Result<Array> {
    let vector = vector.array();
    if vector.dims() != [channels] {
        let found = format!("{name} {:?}", vector.dims());
        return Err(Error::shape(op, found, format!("[{channels}], one per channel")));
    }
    Ok(vector.cast(wide(x))?.reshape((1, channels))?)
}

/// Mean and sum of squared deviations over the rows, each (S, C).
pub(super) fn moments(x: &Array) -> Result<(Array, Array)> {
    let (samples, rows, channels) = x.dims3()?;
    if cuda::takes(x) {
        return cuda::moments(x);
    }
    if !cpu::is_native(x) {
        let x = x.cast(wide(x))?;
        let mean = x.mean_keepdim(1)?;
        let square = x.broadcast_sub(&mean)?.sqr()?.sum(1)?;
        return Ok((mean.squeeze(1)?, square));
    }
    with_real!("norm", x.dtype(), T => {
        let (mut mean, mut square) = (Vec::new(), Vec::new());
        Elements::of(x)?.read(|x: &[T]| {
            let moments: Vec<_> = x
                .par_chunks(rows * channels)
                .map(|x| cpu::channel_moments(x, channels))
                .collect();
            for moments in moments {
                mean.extend(moments.mean);
                square.extend(moments.square);
            }
        })?;
        Ok((cpu::from_vec(mean, (samples, channels))?, cpu::from_vec(square, (samples, channels))?))
    })
}

/// Sums of grad and of grad (x - mean) over the rows, each (S, C).
pub(super) fn products(x: &Array, grad: &Array, mean: &Array) -> Result<(Array, Array)> {
    let (samples, rows, channels) = x.dims3()?;
    if cuda::takes(x) {
        return cuda::products(x, grad, mean);
    }
    if !cpu::is_native(x) {
        let grad = grad.cast(wide(x))?;
        let centred = x.cast(wide(x))?.broadcast_sub(&mean.unsqueeze(1)?)?;
        return Ok((grad.sum(1)?, (grad * centred)?.sum(1)?));
    }
    with_real!("norm", x.dtype(), T => {
        let mean = values::<T>(mean)?;
        let (mut sums, mut products) = (Vec::new(), Vec::new());
        let (x, grad) = (Elements::of(x)?, Elements::of(grad)?);
        x.read(|x: &[T]| grad.read(|grad: &[T]| {
            let size = rows * channels;
            let parts: Vec<_> = (x.par_chunks(size), grad.par_chunks(size), mean.par_chunks(channels))
                .into_par_iter()
                .map(|(x, grad, mean)| cpu::channel_products(x, grad, mean))
                .collect();
            for (sum, product) in parts {
                sums.extend(sum);
                products.extend(product);
            }
        }))??;
        Ok((cpu::from_vec(sums, (samples, channels))?, cpu::from_vec(products, (samples, channels))?))
    })
}

/// (x - mean) scale + shift, in the type of x.
pub(super) fn affine(x: &Array, mean: &Array, scale: &Array, shift: &Array) -> Result<Array> {
    let (_, rows, channels) = x.dims3()?;
    if cuda::takes(x) {
        return cuda::affine(x, mean, scale, shift);
    }
    if !cpu::is_native(x) {
        let centred = x.cast(wide(x))?.broadcast_sub(&mean.unsqueeze(1)?)?;
        let scaled = centred.broadcast_mul(&scale.unsqueeze(1)?)?;
        return scaled.broadcast_add(&shift.unsqueeze(1)?)?.cast(x.dtype());
    }
    with_real!("norm", x.dtype(), T => {
        let (mean, scale, shift) = (values::<T>(mean)?, values::<T>(scale)?, values::<T>(shift)?);
        let mut output = cpu::unwritten::<T>(x.elem_count());
        Elements::of(x)?.read(|x: &[T]| {
            let size = rows * channels;
            output.par_chunks_mut(size).zip(x.par_chunks(size)).enumerate().for_each(
                |(sample, (output, x))| {
                    let at = sample * channels..(sample + 1) * channels;
                    let (mean, scale, shift) =
                        (&mean[at.clone()], &scale[at.clone()], &shift[at]);
                    cpu::channel_affine(x, output, mean, scale, shift);
                },
            );
        })?;
        cpu::from_vec(output, x.shape())
    })
}

/// a grad + b (x - mean) + c, in the type of x.
pub(super) fn combine(
    x: &Array,
    grad: &Array,
    mean: &Array,
    [a, b, c]: [&Array; 3],
) -> Result<Array> {
    let (_, rows, channels) = x.dims3()?;
    if cuda::takes(x) {
        return cuda::combine(x, grad, mean, [a, b, c]);
    }
    if !cpu::is_native(x) {
        let centred = x.cast(wide(x))?.broadcast_sub(&mean.unsqueeze(1)?)?;
        let grad = grad.cast(wide(x))?.broadcast_mul(&a.unsqueeze(1)?)?;
        let sum = (grad + centred.broadcast_mul(&b.unsqueeze(1)?)?)?;
        return sum.broadcast_add(&c.unsqueeze(1)?)?.cast(x.dtype());
    }
    with_real!("norm", x.dtype(), T => {
        let mean = values::<T>(mean)?;
        let (a, b, c) = (values::<T>(a)?, values::<T>(b)?, values::<T>(c)?);
        let mut output = cpu::unwritten::<T>(x.elem_count());
        let (inputs, grad) = (Elements::of(x)?, Elements::of(grad)?);
        inputs.read(|x: &[T]| grad.read(|grad: &[T]| {
            let size = rows * channels;
            let slices = x.par_chunks(size).zip(grad.par_chunks(size));
            output.par_chunks_mut(size).zip(slices).enumerate().for_each(
                |(sample, (output, (x, grad)))| {
                    let at = sample * channels..(sample + 1) * channels;
                    let factors = [&a[at.clone()], &b[at.clone()], &c[at.clone()]];
                    cpu::channel_combine(x, grad, output, &mean[at], factors);
                },
            );
        }))??;
        cpu::from_vec(output, x.shape())
    })
}

/// Statistics as a vector.
fn values<T: Real>(statistics: &Array) -> Result<Vec<T::Acc>>
where
    T::Acc: candle_core::WithDType,
{
    Ok(statistics.flatten_all()?.to_vec1()?)
}
