//! The CUDA kernels of attention, and how they are launched.

use super::{Needs, Problem};
use crate::cpu::Cast;
use crate::cuda::Argument::{Float, Read, Write};
use crate::cuda::{self, Argument, Grid, empty, files, kernel, launch};
use crate::{Array, DType, Result};

/// As in the kernels: rows of a tile, threads of a block.
const ROWS: usize = 64;
/// As in the kernels.
const THREADS: usize = 128;

/// Whether the kernels take it: short floats, heads of 32 or 64 channels, no bias.
pub(super) fn takes(problem: &Problem) -> bool {
    let Problem { q, v, bias, .. } = problem;
    let depth = q.dims()[3];
    cuda::takes(q)
        && cuda::takes(v)
        && q.dtype() != DType::F32
        && matches!(depth, 32 | 64)
        && v.dims()[3] == depth
        && bias.is_none()
}

/// What the way back needs.
pub(super) struct Saved {
    y: Array,
    log_sums: Array,
}

/// The output (B, heads, N, D), which lies as (B, N, heads, D) in memory: where heads are joined, nothing
/// is copied.
pub(super) fn forward(problem: &Problem) -> Result<(Array, Saved)> {
    let [q, k, v] = [rows(&problem.q)?, rows(&problem.k)?, rows(&problem.v)?];
    let (batch, heads, queries, depth) = q.dims4()?;
    let y = empty((batch, queries, heads, depth), q.dtype(), q.device())?;
    let log_sums = empty((batch, heads, queries), DType::F32, q.device())?;
    let mut arguments = vec![Write(&y), Write(&log_sums), Read(&q), Read(&k), Read(&v)];
    arguments.extend([queries, k.dims()[2]].map(Argument::size));
    for map in [&q, &k, &v] {
        arguments.extend(strides(map));
    }
    arguments.push(Float(problem.scale as f32));
    run("attention", &q, queries.div_ceil(ROWS), &arguments)?;
    let y = y.transpose(1, 2)?;
    Ok((y.clone(), Saved { y, log_sums }))
}

/// The gradients of q, k, v.
pub(super) fn backward(
    problem: &Problem,
    saved: &Saved,
    grad: &Array,
    needs: Needs,
) -> Result<[Option<Array>; 4]> {
    let [q, k, v] = [rows(&problem.q)?, rows(&problem.k)?, rows(&problem.v)?];
    let grad = rows(&grad.cast(q.dtype())?)?;
    let (batch, heads, queries, depth) = q.dims4()?;
    let keys = k.dims()[2];
    let along = empty((batch, heads, queries), DType::F32, q.device())?;
    let mut arguments = vec![Write(&along), Read(&saved.y), Read(&grad), Argument::size(queries)];
    arguments.extend(strides(&saved.y));
    arguments.extend(strides(&grad));
    run("attention_along", &q, queries.div_ceil(THREADS / 32), &arguments)?;
    let gradient = |name: &str, outputs: &[&Array], rows: usize| {
        let mut arguments: Vec<_> = outputs.iter().map(|output| Write(output)).collect();
        arguments.extend([&q, &k, &v, &grad, &saved.log_sums, &along].map(Read));
        arguments.extend([queries, keys].map(Argument::size));
        for map in [&q, &k, &v, &grad] {
            arguments.extend(strides(map));
        }
        arguments.push(Float(problem.scale as f32));
        run(name, &q, rows.div_ceil(ROWS), &arguments)
    };
    let map = |rows: usize| empty((batch, rows, heads, depth), q.dtype(), q.device());
    let mut grads = [None, None, None, None];
    if needs.q {
        let grad_q = map(queries)?;
        gradient("attention_grad_q", &[&grad_q], queries)?;
        grads[0] = Some(grad_q.transpose(1, 2)?);
    }
    if needs.k || needs.v {
        let (grad_k, grad_v) = (map(keys)?, map(keys)?);
        gradient("attention_grad_kv", &[&grad_k, &grad_v], keys)?;
        grads[1] = Some(grad_k.transpose(1, 2)?);
        grads[2] = Some(grad_v.transpose(1, 2)?);
    }
    Ok(grads)
}

/// Runs the kernel for q's type and depth: blocks for the rows, for heads and for the batch.
fn run(name: &str, q: &Array, blocks: usize, arguments: &[Argument<'_>]) -> Result<()> {
    let (batch, heads, _, depth) = q.dims4()?;
    let grid = Grid { blocks: [blocks, heads, batch], threads: THREADS };
    let name = kernel(&format!("{name}_{depth}"), &[q.dtype()]);
    launch(&files::ATTENTION, &name, grid, arguments)
}

/// The map with rows that can be read 16 bytes at a time: itself, wherever heads were cut from one
/// product; else a copy.
fn rows(map: &Array) -> Result<Array> {
    let layout = map.layout();
    let aligned = layout.start_offset().is_multiple_of(8)
        && layout.stride()[..3].iter().all(|stride| stride.is_multiple_of(8));
    let fits = layout.stride().iter().all(|stride| i32::try_from(*stride).is_ok());
    if aligned && fits && layout.stride()[3] == 1 {
        return Ok(map.clone());
    }
    Ok(map.transpose(1, 2)?.contiguous()?.transpose(1, 2)?)
}

/// Distances between samples, heads and rows.
fn strides(map: &Array) -> [Argument<'static>; 3] {
    let stride = map.layout().stride();
    [0, 1, 2].map(|axis| Argument::size(stride[axis]))
}
