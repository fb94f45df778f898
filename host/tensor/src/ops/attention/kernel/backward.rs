//! The way back: weights are made again from the scores, tile by tile.

use std::ops::Range;

use candle_core::WithDType;
use half::bf16;
use rayon::prelude::*;

use super::{Buffers, Heads, Sizes, TASKS, Tile, multiply, scale_and_bias, take, with_operands};
use crate::cpu::row::sums2;
use crate::cpu::{self, Acc, Elements, Matrix, Real};
use crate::ops::attention::{Needs, Problem};
use crate::{Array, DType, Error, Result};

/// Gradients of q, k and v, and of the bias as (samples that share one, heads, N, M).
pub(in super::super) fn backward(
    problem: &Problem,
    log_sum: &Array,
    grads: &[Option<Array>],
    to: DType,
    needs: Needs,
) -> Result<[Option<Array>; 4]> {
    let (batch, heads, queries, _) = problem.q.dims4()?;
    let value = problem.v.dims4()?.3;
    let grad = match &grads[0] {
        Some(grad) => grad.to_dtype(to)?,
        None => Array::zeros((), to, grads_device(problem))?
            .broadcast_as((batch, heads, queries, value))?,
    };
    let grad_weights = grads.get(1).and_then(Option::as_ref);
    with_types!(problem.q.dtype(), to, T, O => {
        run_backward::<T, O>(problem, log_sum, &grad, grad_weights, needs)
    })
}

fn grads_device(problem: &Problem) -> &crate::Device {
    problem.q.device()
}

fn run_backward<T: Real, O: Real<Acc = T::Acc>>(
    problem: &Problem,
    log_sum: &Array,
    grad: &Array,
    grad_weights: Option<&Array>,
    needs: Needs,
) -> Result<[Option<Array>; 4]>
where
    T::Acc: Tile,
{
    let sizes = Sizes::of(problem)?;
    let Sizes { batch, heads, queries, keys, depth, value } = sizes;
    let brief = O::DTYPE == DType::BF16;
    let scale = T::Acc::of(problem.scale);
    // Pairs per task: one, unless tasks gather the bias's gradient over the samples that share it.
    let samples = match (needs.bias, problem.bias_per_sample) {
        (true, false) => batch.div_ceil(TASKS),
        _ => 1,
    };
    let pairs = if needs.bias { samples * heads } else { 1 };
    let groups = batch.div_ceil(samples);
    let buffer = |needed: bool, len: usize| cpu::unwritten::<T>(if needed { len } else { 0 });
    let mut grad_q = buffer(needs.q, batch * heads * queries * depth);
    let mut grad_k = buffer(needs.k, batch * heads * keys * depth);
    let mut grad_v = buffer(needs.v, batch * heads * keys * value);
    let per_group = if needs.bias { heads * queries * keys } else { 0 };
    let mut grad_bias = vec![T::Acc::ZERO; groups * per_group];
    let mut tasks = Vec::new();
    {
        let (mut of_q, mut of_k) = (grad_q.as_mut_slice(), grad_k.as_mut_slice());
        let (mut of_v, mut of_bias) = (grad_v.as_mut_slice(), grad_bias.as_mut_slice());
        let part =
            |slice: &[T], pairs: usize, len: usize| if slice.is_empty() { 0 } else { pairs * len };
        for first in (0..batch * heads).step_by(pairs) {
            let pairs = pairs.min(batch * heads - first);
            let len_q = part(of_q, pairs, queries * depth);
            let len_k = part(of_k, pairs, keys * depth);
            let len_v = part(of_v, pairs, keys * value);
            tasks.push(Pairs {
                pairs: first..first + pairs,
                grad_q: take(&mut of_q, len_q),
                grad_k: take(&mut of_k, len_k),
                grad_v: take(&mut of_v, len_v),
                grad_bias: take(&mut of_bias, per_group),
            });
        }
    }
    let log_sum = Elements::of(log_sum)?;
    let grad_weights = grad_weights.map(|grad| grad.to_dtype(T::Acc::DTYPE)).transpose()?;
    with_operands(problem, |operands, bias| {
        let run =
            |grad: Heads<'_, O>, of_weights: Option<Heads<'_, T::Acc>>, log_sum: &[T::Acc]| {
                let given = Given {
                    operands,
                    bias: bias.as_ref(),
                    grad,
                    grad_weights: of_weights.as_ref(),
                    log_sum,
                    sizes,
                    scale,
                    brief,
                    needs,
                };
                tasks.into_par_iter().for_each_init(Buffers::default, |buffers, task| {
                    differentiate(task, &given, buffers);
                });
            };
        cpu::view(grad, |grad: &[O], of_grad| {
            let grad = Heads::new(grad, of_grad);
            log_sum.read(|log_sum: &[T::Acc]| match &grad_weights {
                None => {
                    run(grad, None, log_sum);
                    Ok(())
                }
                Some(weights) => cpu::view(weights, |weights: &[T::Acc], of_weights| {
                    run(grad, Some(Heads::new(weights, of_weights)), log_sum);
                }),
            })
        })
    })????;
    let array = |needed: bool, data: Vec<T>, rows: usize, columns: usize| {
        needed.then(|| cpu::from_vec(data, (batch, heads, rows, columns))).transpose()
    };
    Ok([
        array(needs.q, grad_q, queries, depth)?,
        array(needs.k, grad_k, keys, depth)?,
        array(needs.v, grad_v, keys, value)?,
        needs.bias.then(|| cpu::from_vec(grad_bias, (groups, heads, queries, keys))).transpose()?,
    ])
}

/// Some (sample, head) pairs, counted row by row, and where their gradients go (empty: not asked for).
struct Pairs<'a, T, A> {
    pairs: Range<usize>,
    grad_q: &'a mut [T],
    grad_k: &'a mut [T],
    grad_v: &'a mut [T],
    /// (heads, N, M), added up over the samples.
    grad_bias: &'a mut [A],
}

/// What all tasks of a backward pass read.
struct Given<'a, T: Real, O, A> {
    operands: [Heads<'a, T>; 3],
    bias: Option<&'a Heads<'a, A>>,
    grad: Heads<'a, O>,
    grad_weights: Option<&'a Heads<'a, A>>,
    /// (B, N, heads).
    log_sum: &'a [A],
    sizes: Sizes,
    scale: A,
    brief: bool,
    needs: Needs,
}

/// With the weights P = softmax(S), S = scale q k^T + bias, and dP = dout v^T + dweights:
/// dv = P^T dout, dS = P (dP - sum(P dP)), dq = scale dS k, dk = scale dS^T q, dbias = dS.
fn differentiate<T: Real, O: Real<Acc = T::Acc>>(
    task: Pairs<'_, T, T::Acc>,
    given: &Given<'_, T, O, T::Acc>,
    buffers: &mut Buffers<T::Acc>,
) where
    T::Acc: Tile,
{
    let Given { operands: [q, k, v], sizes, scale, brief, needs, .. } = *given;
    let Sizes { heads, queries, keys, depth, value, .. } = sizes;
    let Buffers { scores, output, grad_scores, grad_k, grad_v } = buffers;
    let scores_needed = needs.q || needs.k || needs.bias;
    for (index, pair) in task.pairs.clone().enumerate() {
        let pair = (pair / heads, pair % heads);
        let (k, v) = (k.matrix(pair, 0), v.matrix(pair, 0));
        grad_k.resize(keys * depth, T::Acc::ZERO);
        grad_v.resize(keys * value, T::Acc::ZERO);
        for first in (0..queries).step_by(sizes.rows_per_tile()) {
            let rows = first..(first + sizes.rows_per_tile()).min(queries);
            let count = rows.len();
            let (q, grad) = (q.matrix(pair, rows.start), given.grad.matrix(pair, rows.start));
            scores.resize(count * keys, T::Acc::ZERO);
            multiply(scores, q, k.turned(), (count, depth, keys), false, brief);
            cpu::vectorized(
                #[inline(always)]
                || {
                    for (row, s) in rows.clone().zip(scores.chunks_exact_mut(keys)) {
                        scale_and_bias(s, scale, given.bias, pair, row);
                        let log_sum = given.log_sum[(pair.0 * queries + row) * heads + pair.1];
                        s.iter_mut().for_each(|s| *s = (*s - log_sum).exp_below());
                    }
                },
            );
            if needs.v {
                let weights = Matrix::transposed(scores, keys);
                multiply(grad_v, weights, grad, (keys, count, value), first > 0, brief);
            }
            if !scores_needed {
                continue;
            }
            grad_scores.resize(count * keys, T::Acc::ZERO);
            multiply(grad_scores, grad, v.turned(), (count, value, keys), false, brief);
            cpu::vectorized(
                #[inline(always)]
                || {
                    let lines = grad_scores.chunks_exact_mut(keys).zip(scores.chunks_exact(keys));
                    for (row, (grad, weights)) in rows.clone().zip(lines) {
                        if let Some(more) = given.grad_weights {
                            let (more, step) = more.row(pair, row);
                            for (index, grad) in grad.iter_mut().enumerate() {
                                *grad += more[index * step];
                            }
                        }
                        let [along] = sums2(
                            weights,
                            grad,
                            #[inline(always)]
                            |weight, grad| [weight * grad],
                        );
                        for (grad, weight) in grad.iter_mut().zip(weights) {
                            *grad = *weight * (*grad - along);
                        }
                    }
                },
            );
            if needs.bias {
                let at = (pair.1 * queries + first) * keys;
                let slots = task.grad_bias[at..at + count * keys].iter_mut();
                slots.zip(grad_scores.iter()).for_each(|(slot, grad)| *slot += *grad);
            }
            if needs.q {
                output.resize(count * depth, T::Acc::ZERO);
                let left = Matrix::rows(grad_scores, keys);
                multiply(output, left, k, (count, keys, depth), false, brief);
                let at = (index * queries + first) * depth;
                store(&mut task.grad_q[at..at + count * depth], output, scale);
            }
            if needs.k {
                let left = Matrix::transposed(grad_scores, keys);
                multiply(grad_k, left, q, (keys, count, depth), first > 0, brief);
            }
        }
        if needs.k {
            store(&mut task.grad_k[index * keys * depth..][..keys * depth], grad_k, scale);
        }
        if needs.v {
            store(&mut task.grad_v[index * keys * value..][..keys * value], grad_v, T::Acc::ONE);
        }
    }
}

/// out = scale x, rounded.
fn store<T: Real>(out: &mut [T], x: &[T::Acc], scale: T::Acc) {
    cpu::vectorized(
        #[inline(always)]
        || out.iter_mut().zip(x).for_each(|(out, x)| *out = T::round(*x * scale)),
    );
}
