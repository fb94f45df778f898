//! Attention on the CPU by tiles of scores that stay in cache.
//!
//! Forward, a task has some queries of one sample and goes through its heads; the weights of a tile
//! are used and forgotten, log(sum(e^scores)) per query is kept. Backward, a task has some (sample,
//! head) pairs and makes the weights again from the scores (Dao et al., 2022, without the blocks of
//! keys). How work is cut depends on shapes alone, so results do not depend on the number of threads.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::Problem;
use crate::cpu::row::{largest, sums};
use crate::cpu::{self, Acc, Brief, Matrix, Real, Start};
use crate::{Array, DType, Error, Result};

/// At least this many tasks, where there are as many queries.
const TASKS: usize = 16;
/// Scores per tile: 256 KiB of f32.
const TILE: usize = 65_536;

/// Runs `$body` with `$in` and `$out` bound to the element types of operands and output.
macro_rules! with_types {
    ($input:expr, $output:expr, $in:ident, $out:ident => $body:expr) => {{
        macro_rules! run {
            ($a:ty, $b:ty) => {{
                type $in = $a;
                type $out = $b;
                $body
            }};
        }
        match ($input, $output) {
            (DType::F32, DType::F32) => run!(f32, f32),
            (DType::F32, DType::BF16) => run!(f32, bf16),
            (DType::BF16, DType::BF16) => run!(bf16, bf16),
            (DType::F64, DType::F64) => run!(f64, f64),
            (found, _) => Err(Error::Type { op: "Attention", found, expected: "f32, f64 or bf16" }),
        }
    }};
}

mod backward;
pub(super) use backward::backward;

/// The type in which a tile is computed.
trait Tile: Real<Acc = Self> + Acc {}
impl Tile for f32 {}
impl Tile for f64 {}

/// out = a b, or out += a b with `keep`; operands are rounded to bf16 if `brief`, else they are of the
/// type of `out`.
fn multiply<A: Real, B: Real, O: Tile>(
    out: &mut [O],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    sizes: (usize, usize, usize),
    keep: bool,
    brief: bool,
) {
    fn brief_by<A: Real + Brief, B: Real, O: Tile>(
        out: &mut [O],
        a: Matrix<'_, A>,
        b: Matrix<'_, B>,
        sizes: (usize, usize, usize),
        start: Start<'_, f32>,
    ) {
        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
        if B::DTYPE == DType::BF16 {
            cpu::matmul_bf16_into(out, a, b.cast::<bf16>(), sizes, start, 1);
        } else {
            cpu::matmul_bf16_into(out, a, b.cast::<f32>(), sizes, start, 1);
        }
    }
    fn start<T>(keep: bool) -> Start<'static, T> {
        if keep { Start::Out } else { Start::Zero }
    }
    if !brief {
        cpu::matmul_into::<O>(out, a.cast(), b.cast(), sizes, start(keep), 1);
    } else if A::DTYPE == DType::BF16 {
        brief_by::<bf16, B, O>(out, a.cast(), b, sizes, start(keep));
    } else {
        brief_by::<f32, B, O>(out, a.cast(), b, sizes, start(keep));
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    depth: usize,
    value: usize,
}

impl Sizes {
    fn of(problem: &Problem) -> Result<Self> {
        let (batch, heads, queries, depth) = problem.q.dims4()?;
        let (_, _, keys, value) = problem.v.dims4()?;
        Ok(Self { batch, heads, queries, keys, depth, value })
    }

    fn rows_per_tile(&self) -> usize {
        (TILE / self.keys).clamp(16, self.queries.max(16)).min(self.queries)
    }
}

/// An operand (B, heads, rows, columns) of any strides.
#[derive(Clone, Copy)]
struct Heads<'a, T> {
    data: &'a [T],
    strides: [usize; 4],
}

impl<'a, T: Real> Heads<'a, T> {
    fn new(data: &'a [T], strides: &[usize]) -> Self {
        Self { data, strides: strides.try_into().expect("operands have rank 4") }
    }

    /// One row, and the step between its elements.
    #[inline(always)]
    fn row(&self, (sample, head): (usize, usize), row: usize) -> (&'a [T], usize) {
        let [of_sample, of_head, of_row, step] = self.strides;
        (&self.data[sample * of_sample + head * of_head + row * of_row..], step)
    }

    /// One head, from one of its rows on.
    fn matrix(&self, pair: (usize, usize), first: usize) -> Matrix<'a, T> {
        let (data, column) = self.row(pair, first);
        Matrix { data, row: self.strides[2], column }
    }
}

/// Opens q, k, v and the bias.
fn with_operands<T: Real, R>(
    problem: &Problem,
    body: impl FnOnce([Heads<'_, T>; 3], Option<Heads<'_, T::Acc>>) -> R,
) -> Result<R>
where
    T::Acc: Real,
{
    cpu::view(&problem.q, |q: &[T], of_q| {
        cpu::view(&problem.k, |k: &[T], of_k| {
            cpu::view(&problem.v, |v: &[T], of_v| {
                let operands = [Heads::new(q, of_q), Heads::new(k, of_k), Heads::new(v, of_v)];
                match &problem.bias {
                    None => Ok(body(operands, None)),
                    Some(bias) => cpu::view(bias, |bias: &[T::Acc], strides| {
                        body(operands, Some(Heads::new(bias, strides)))
                    }),
                }
            })
        })
    })???
}

/// s = scale s + bias of one row.
#[inline(always)]
fn scale_and_bias<A: Tile>(
    s: &mut [A],
    scale: A,
    bias: Option<&Heads<'_, A>>,
    pair: (usize, usize),
    row: usize,
) {
    match bias.map(|bias| bias.row(pair, row)) {
        None => s.iter_mut().for_each(|s| *s *= scale),
        Some((bias, 1)) => s.iter_mut().zip(bias).for_each(|(s, b)| *s = *s * scale + *b),
        Some((bias, step)) => {
            s.iter_mut().enumerate().for_each(|(i, s)| *s = *s * scale + bias[i * step]);
        }
    }
}

/// The output, log(sum(e^scores)) per query (B, N, heads) and, if asked for, the weights. Output and
/// weights lie in memory as (B, N, heads, ..), so that joining the heads afterwards copies nothing.
pub(super) fn forward(
    problem: &Problem,
    to: DType,
    return_weights: bool,
) -> Result<(Array, Array, Option<Array>)> {
    with_types!(problem.q.dtype(), to, T, O => run_forward::<T, O>(problem, return_weights))
}

fn run_forward<T: Real, O: Real<Acc = T::Acc>>(
    problem: &Problem,
    return_weights: bool,
) -> Result<(Array, Array, Option<Array>)>
where
    T::Acc: Tile,
{
    let sizes = Sizes::of(problem)?;
    let Sizes { batch, heads, queries, keys, value, .. } = sizes;
    let brief = O::DTYPE == DType::BF16;
    let scale = T::Acc::of(problem.scale);
    let mut output = cpu::unwritten::<O>(batch * queries * heads * value);
    let mut log_sum = vec![T::Acc::ZERO; batch * queries * heads];
    let kept = if return_weights { keys } else { 0 };
    let mut weights = cpu::unwritten::<T::Acc>(batch * queries * heads * kept);
    let rows = queries.div_ceil(TASKS.div_ceil(batch)).max(16);
    let mut tasks = Vec::new();
    {
        let (mut output, mut log_sum) = (output.as_mut_slice(), log_sum.as_mut_slice());
        let mut weights = weights.as_mut_slice();
        for sample in 0..batch {
            for first in (0..queries).step_by(rows) {
                let rows = first..(first + rows).min(queries);
                let lines = rows.len() * heads;
                let out = take(&mut output, lines * value);
                tasks.push(Queries {
                    sample,
                    rows,
                    output: out,
                    log_sum: take(&mut log_sum, lines),
                    weights: take(&mut weights, lines * kept),
                });
            }
        }
    }
    with_operands(problem, |operands, bias| {
        let bias = bias.as_ref();
        tasks.into_par_iter().for_each_init(Buffers::default, |buffers, task| {
            attend::<T, O>(task, operands, bias, sizes, scale, brief, buffers);
        });
    })?;
    let turn = |array: Array| Ok::<_, Error>(array.transpose(1, 2)?);
    let output = turn(cpu::from_vec(output, (batch, queries, heads, value))?)?;
    let log_sum = cpu::from_vec(log_sum, (batch, queries, heads))?;
    let weights = return_weights
        .then(|| turn(cpu::from_vec(weights, (batch, queries, heads, keys))?))
        .transpose()?;
    Ok((output, log_sum, weights))
}

fn take<'a, T>(slice: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(len);
    *slice = tail;
    head
}

/// Some queries of one sample, and where their results go: (rows, heads, ..).
struct Queries<'a, O, A> {
    sample: usize,
    rows: Range<usize>,
    output: &'a mut [O],
    log_sum: &'a mut [A],
    weights: &'a mut [A],
}

/// What a worker needs in between.
struct Buffers<A> {
    scores: Vec<A>,
    output: Vec<A>,
    grad_scores: Vec<A>,
    grad_k: Vec<A>,
    grad_v: Vec<A>,
}

impl<A> Default for Buffers<A> {
    fn default() -> Self {
        let new = Vec::new;
        Self { scores: new(), output: new(), grad_scores: new(), grad_k: new(), grad_v: new() }
    }
}

fn attend<T: Real, O: Real<Acc = T::Acc>>(
    task: Queries<'_, O, T::Acc>,
    [q, k, v]: [Heads<'_, T>; 3],
    bias: Option<&Heads<'_, T::Acc>>,
    sizes: Sizes,
    scale: T::Acc,
    brief: bool,
    buffers: &mut Buffers<T::Acc>,
) where
    T::Acc: Tile,
{
    let Sizes { heads, keys, depth, value, .. } = sizes;
    let Buffers { scores, output: out, .. } = buffers;
    for head in 0..heads {
        let pair = (task.sample, head);
        let (k, v) = (k.matrix(pair, 0), v.matrix(pair, 0));
        for first in task.rows.clone().step_by(sizes.rows_per_tile()) {
            let rows = first..(first + sizes.rows_per_tile()).min(task.rows.end);
            let count = rows.len();
            let q = q.matrix(pair, rows.start);
            scores.resize(count * keys, T::Acc::ZERO);
            out.resize(count * value, T::Acc::ZERO);
            multiply(scores, q, k.turned(), (count, depth, keys), false, brief);
            cpu::vectorized(
                #[inline(always)]
                || {
                    for (row, s) in rows.clone().zip(scores.chunks_exact_mut(keys)) {
                        scale_and_bias(s, scale, bias, pair, row);
                        let log_sum = softmax(s);
                        let line = (row - task.rows.start) * heads + head;
                        task.log_sum[line] = log_sum;
                        if let Some(kept) = task.weights.chunks_exact_mut(keys).nth(line) {
                            kept.copy_from_slice(s);
                        }
                    }
                },
            );
            let weights = Matrix::rows(scores, keys);
            multiply(out, weights, v, (count, keys, value), false, brief);
            for (row, out) in rows.zip(out.chunks_exact(value)) {
                let line = (row - task.rows.start) * heads + head;
                let slots = &mut task.output[line * value..(line + 1) * value];
                slots.iter_mut().zip(out).for_each(|(slot, x)| *slot = O::round(*x));
            }
        }
    }
}

/// Scores to weights; log(sum(e^scores)).
#[inline(always)]
fn softmax<A: Tile>(s: &mut [A]) -> A {
    let most = largest(s);
    s.iter_mut().for_each(|s| *s = (*s - most).exp_below());
    let [sum] = sums(
        s,
        #[inline(always)]
        |s| [s],
    );
    let share = A::ONE / sum;
    s.iter_mut().for_each(|s| *s *= share);
    most + sum.ln()
}
