//! Layer normalisation (Ba, Kiros and Hinton, 2016).

mod cuda;

use rayon::prelude::*;

use super::precision::wide;
use super::precision::{result_type, with_result};
use crate::cpu::row::{self, sums, sums3};
use crate::cpu::{self, Acc, Cast, Elements, Real};
use crate::{Array, DType, Error, Result, Tensor, tape};

/// (x - mean) / sqrt(var + eps) * weight + bias over the last dimension of x (.., C), with the
/// biased variance; `weight` and `bias` are (C). A half type under autocast becomes f32.
///
/// # Errors
/// x has no dimension, or `weight` or `bias` is not of its last one.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let array = x.array();
    let type_y = result_type("LayerNorm", array.dtype())?;
    let (scale, shift) = (weight.map(Tensor::array), bias.map(Tensor::array));
    let width = array.dims().last().copied();
    let fits = |of: &Option<Array>| {
        of.as_ref().is_none_or(|of| Some(of.dims()) == width.as_ref().map(std::slice::from_ref))
    };
    if width.is_none() || !fits(&scale) || !fits(&shift) {
        let dims = |of: &Option<Array>| of.as_ref().map(|of| of.dims().to_vec());
        return Err(Error::shape(
            "LayerNorm",
            format!("x {:?}, weight {:?}, bias {:?}", array.dims(), dims(&scale), dims(&shift)),
            "x (.., C), weight (C), bias (C)",
        ));
    }
    for of in [&scale, &shift].into_iter().flatten() {
        result_type("LayerNorm", of.dtype())?;
    }
    let inputs: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
    let needs = Needs {
        x: x.is_tracked(),
        weight: weight.is_some_and(Tensor::is_tracked),
        bias: bias.is_some_and(Tensor::is_tracked),
    };
    let (output, mean, rstd) = if is_native(&array) {
        kernel(&array, scale.as_ref(), shift.as_ref(), eps, type_y)?
    } else if cuda::takes(&array) {
        cuda::forward(&array, scale.as_ref(), shift.as_ref(), eps, type_y)?
    } else {
        let (output, mean, rstd) = portable(&array, scale.as_ref(), shift.as_ref(), eps)?;
        (output.cast(type_y)?, mean, rstd)
    };
    Ok(tape::record("LayerNorm", &inputs, output, move |grad| {
        let grad = grad.cast(type_y)?;
        let [grad_x, grad_w, grad_b] = if is_native(&array) {
            kernel_backward(&array, &mean, &rstd, scale.as_ref(), &grad, needs)?
        } else if cuda::takes(&array) {
            cuda::backward(&array, &mean, &rstd, scale.as_ref(), &grad, needs)?
        } else {
            portable_backward(&array, &mean, &rstd, scale.as_ref(), &grad, needs)?
        };
        let cast = |grad: Option<Array>, like: &Array| {
            grad.map(|grad| grad.cast(like.dtype())).transpose()
        };
        let mut grads = vec![cast(grad_x, &array)?];
        if let Some(scale) = &scale {
            grads.push(cast(grad_w, scale)?);
        }
        if let Some(shift) = &shift {
            grads.push(cast(grad_b, shift)?);
        }
        Ok(grads)
    }))
}

fn is_native(x: &Array) -> bool {
    cpu::is_native(x) && x.elem_count() > 0
}

#[derive(Clone, Copy)]
struct Needs {
    x: bool,
    weight: bool,
    bias: bool,
}

/// The elements of a per-channel vector, or `default` for each channel.
fn channels<A: Acc + Real>(of: Option<&Array>, width: usize, default: A) -> Result<Vec<A>> {
    match of {
        Some(of) => Elements::of(&of.cast(A::DTYPE)?)?.read(<[A]>::to_vec),
        None => Ok(vec![default; width]),
    }
}

/// y, and mean and 1 / sqrt(var + eps) per row, flat, in f32 (f64 for f64).
fn kernel(
    x: &Array,
    scale: Option<&Array>,
    shift: Option<&Array>,
    eps: f64,
    to: DType,
) -> Result<(Array, Array, Array)> {
    let width = x.dims()[x.rank() - 1];
    let rows = x.elem_count() / width;
    with_result!("LayerNorm", x.dtype(), to, T, O => {
        type A = <T as Real>::Acc;
        let scale = channels(scale, width, A::ONE)?;
        let shift = channels(shift, width, A::ZERO)?;
        let (share, eps) = (A::of(1.0 / width as f64), A::of(eps));
        let mut y = cpu::unwritten::<O>(x.elem_count());
        let (mut mean, mut rstd) = (vec![A::ZERO; rows], vec![A::ZERO; rows]);
        let chunk = cpu::grain(width);
        Elements::of(x)?.read(|x: &[T]| {
            y.par_chunks_mut(chunk * width)
                .zip(x.par_chunks(chunk * width))
                .zip(mean.par_chunks_mut(chunk).zip(rstd.par_chunks_mut(chunk)))
                .for_each(|((y, x), (mean, rstd))| {
                    cpu::vectorized(
                        #[inline(always)]
                        || {
                            let mut scratch = vec![A::ZERO; width];
                            let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(width));
                            for ((y, x), (mean, rstd)) in rows.zip(mean.iter_mut().zip(rstd)) {
                                let x = row::wide(x, &mut scratch);
                                (*mean, *rstd) = normalize(y, x, &scale, &shift, share, eps);
                            }
                        },
                    );
                });
        })?;
        Ok((
            cpu::from_vec(y, x.shape())?,
            cpu::from_vec(mean, rows)?,
            cpu::from_vec(rstd, rows)?,
        ))
    })
}

/// One row; its mean and 1 / sqrt(var + eps). Two passes: the row stays in the first cache, and the
/// difference of squares would cancel.
#[inline(always)]
fn normalize<A: Acc, O: Real<Acc = A>>(
    y: &mut [O],
    x: &[A],
    scale: &[A],
    shift: &[A],
    share: A,
    eps: A,
) -> (A, A) {
    let [sum] = sums(
        x,
        #[inline(always)]
        |x| [x],
    );
    let mean = sum * share;
    let [square] = sums(
        x,
        #[inline(always)]
        |x| [(x - mean) * (x - mean)],
    );
    let rstd = A::ONE / (square * share + eps).sqrt();
    for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
        *y = O::round((*x - mean) * rstd * *scale + *shift);
    }
    (mean, rstd)
}

/// At most this many partial sums of the weight's and bias's gradients. Their number depends on the
/// shape alone, so the gradients do not depend on the number of threads.
const PARTIAL_SUMS: usize = 64;

fn kernel_backward(
    x: &Array,
    mean: &Array,
    rstd: &Array,
    scale: Option<&Array>,
    grad: &Array,
    needs: Needs,
) -> Result<[Option<Array>; 3]> {
    let width = x.dims()[x.rank() - 1];
    let rows = x.elem_count() / width;
    let elements = [Elements::of(mean)?, Elements::of(rstd)?];
    let (left, right) = (Elements::of(x)?, Elements::of(grad)?);
    with_result!("LayerNorm", x.dtype(), grad.dtype(), T, O => {
        type A = <T as Real>::Acc;
        let scale = channels(scale, width, A::ONE)?;
        let share = A::of(1.0 / width as f64);
        let block = cpu::grain(width).max(rows.div_ceil(PARTIAL_SUMS));
        let sums_needed = needs.weight || needs.bias;
        let mut grad_x = cpu::unwritten::<T>(if needs.x { rows * width } else { 0 });
        let mut partial = vec![A::ZERO; if sums_needed { rows.div_ceil(block) * 2 * width } else { 0 }];
        let mut run = |x: &[T], grad: &[O], mean: &[A], rstd: &[A]| {
            let task = |index: usize, grad_x: &mut [T], partial: &mut [A]| {
                let (grad_w, grad_b) = partial.split_at_mut(partial.len() / 2);
                let first = index * block;
                cpu::vectorized(
                    #[inline(always)]
                    || {
                        let (mut left, mut right) = (vec![A::ZERO; width], vec![A::ZERO; width]);
                        for row in first..(first + block).min(rows) {
                            let span = row * width..(row + 1) * width;
                            let x = row::wide(&x[span.clone()], &mut left);
                            let grad = row::wide(&grad[span], &mut right);
                            let (mean, rstd) = (mean[row], rstd[row]);
                            if needs.x {
                                let at = (row - first) * width;
                                let grad_x = &mut grad_x[at..at + width];
                                differentiate(grad_x, x, grad, &scale, mean, rstd, share);
                            }
                            let sums = grad_w.iter_mut().zip(grad_b.iter_mut());
                            for ((grad_w, grad_b), (x, grad)) in sums.zip(x.iter().zip(grad)) {
                                *grad_w += *grad * ((*x - mean) * rstd);
                                *grad_b += *grad;
                            }
                        }
                    },
                );
            };
            match (needs.x, sums_needed) {
                (true, true) => grad_x
                    .par_chunks_mut(block * width)
                    .zip(partial.par_chunks_mut(2 * width))
                    .enumerate()
                    .for_each(|(index, (grad_x, partial))| task(index, grad_x, partial)),
                (true, false) => grad_x
                    .par_chunks_mut(block * width)
                    .enumerate()
                    .for_each(|(index, grad_x)| task(index, grad_x, &mut [])),
                (false, _) => partial
                    .par_chunks_mut(2 * width)
                    .enumerate()
                    .for_each(|(index, partial)| task(index, &mut [], partial)),
            }
        };
        elements[0].read(|mean| {
            elements[1].read(|rstd| left.read(|x| right.read(|grad| run(x, grad, mean, rstd))))
        })????;
        let total = |at: usize| {
            let mut sum = vec![A::ZERO; width];
            for partial in partial.chunks_exact(2 * width) {
                sum.iter_mut().zip(&partial[at * width..]).for_each(|(sum, part)| *sum += *part);
            }
            cpu::from_vec(sum, width)
        };
        let grad_w = needs.weight.then(|| total(0)).transpose()?;
        let grad_b = needs.bias.then(|| total(1)).transpose()?;
        let grad_x = needs.x.then(|| cpu::from_vec(grad_x, x.shape())).transpose()?;
        Ok([grad_x, grad_w, grad_b])
    })
}

/// dx of one row; see [`portable_backward`].
#[inline(always)]
fn differentiate<T: Real>(
    out: &mut [T],
    x: &[T::Acc],
    grad: &[T::Acc],
    scale: &[T::Acc],
    mean: T::Acc,
    rstd: T::Acc,
    share: T::Acc,
) {
    let [total, along] = sums3(
        x,
        grad,
        scale,
        #[inline(always)]
        |x, grad, scale| {
            let u = grad * scale;
            [u, u * (x - mean)]
        },
    );
    let (total, along) = (total * share, along * share * rstd * rstd);
    for (((out, x), grad), scale) in out.iter_mut().zip(x).zip(grad).zip(scale) {
        let u = *grad * *scale;
        *out = T::round((u - total - (*x - mean) * along) * rstd);
    }
}

/// y, and mean and 1 / sqrt(var + eps) per row (.., 1); all in f32 (f64 for f64).
fn portable(
    x: &Array,
    scale: Option<&Array>,
    shift: Option<&Array>,
    eps: f64,
) -> Result<(Array, Array, Array)> {
    let x = wide(x)?;
    let last = x.rank() - 1;
    let mean = x.mean_keepdim(last)?;
    let centred = x.broadcast_sub(&mean)?;
    let rstd = (centred.sqr()?.mean_keepdim(last)? + eps)?.sqrt()?.recip()?;
    let mut y = centred.broadcast_mul(&rstd)?;
    if let Some(scale) = scale {
        y = y.broadcast_mul(&scale.cast(y.dtype())?)?;
    }
    if let Some(shift) = shift {
        y = y.broadcast_add(&shift.cast(y.dtype())?)?;
    }
    Ok((y, mean, rstd))
}

/// With u = grad * weight and n = (x - mean) rstd:
/// dx = rstd (u - mean(u) - n mean(u n)), dweight = sum(grad n), dbias = sum(grad).
fn portable_backward(
    x: &Array,
    mean: &Array,
    rstd: &Array,
    scale: Option<&Array>,
    grad: &Array,
    needs: Needs,
) -> Result<[Option<Array>; 3]> {
    let (x, grad) = (wide(x)?, wide(grad)?);
    let last = x.rank() - 1;
    let rows: Vec<usize> = (0..last).collect();
    let normal = x.broadcast_sub(mean)?.broadcast_mul(rstd)?;
    let grad_x = || -> Result<Array> {
        let u = match scale {
            Some(scale) => grad.broadcast_mul(&scale.cast(grad.dtype())?)?,
            None => grad.clone(),
        };
        let along = (&u * &normal)?.mean_keepdim(last)?;
        let rest = u.broadcast_sub(&u.mean_keepdim(last)?)?;
        Ok((rest - normal.broadcast_mul(&along)?)?.broadcast_mul(rstd)?)
    };
    let sum = |of: &Array| -> Result<Array> {
        if rows.is_empty() { Ok(of.clone()) } else { Ok(of.sum(rows.as_slice())?) }
    };
    Ok([
        needs.x.then(grad_x).transpose()?,
        needs.weight.then(|| sum(&(&grad * &normal)?)).transpose()?,
        needs.bias.then(|| sum(&grad)).transpose()?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5], &[5], &[5]]), |x| {
            layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-6)
        });
        check(Case::of(&[&[4, 37], &[37]]), |x| layer_norm(&x[0], Some(&x[1]), None, 1e-5));
        check(Case::of(&[&[2, 2, 2, 6]]), |x| layer_norm(&x[0], None, None, 1e-5));
        // More rows than one block of the CUDA kernels sums.
        check(Case::of(&[&[2, 67, 4], &[4], &[4]]), |x| {
            layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-6)
        });
        check(Case::of(&[&[6], &[6], &[6]]), |x| layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-6));
    }

    #[test]
    fn a_large_common_offset_does_not_cost_precision() {
        let x: Vec<f32> = (0..64).map(|i| 10_000.0 + (i % 4) as f32).collect();
        let x = Tensor::constant(Array::from_vec(x, (2, 32), &Device::Cpu).unwrap());
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let y = layer_norm(&x, None, None, 0.0).unwrap().array();
                let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let expected = 1.5 / 1.25f32.sqrt();
                assert!((y[0] + expected).abs() < 1e-3, "{} for {}", y[0], -expected);
                assert!((y[3] - expected).abs() < 1e-3, "{} for {expected}", y[3]);
            });
        }
    }

    #[test]
    fn autocast_answers_in_f32() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::BF16, &Device::Cpu).unwrap());
        let autocast = Mode { autocast: true, ..current() };
        let y = scope(autocast, || layer_norm(&x, None, None, 1e-6).unwrap());
        assert_eq!(y.dtype(), DType::F32);
    }

    #[test]
    fn a_weight_of_another_width_is_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let message = layer_norm(&zeros(&[2, 3]), Some(&zeros(&[4])), None, 1e-6).unwrap_err();
        assert!(message.to_string().contains("weight Some([4])"), "{message}");
        assert!(layer_norm(&zeros(&[]), None, None, 1e-6).is_err());
    }
}
