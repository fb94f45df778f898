//! The CUDA kernels of depthwise convolution, and how they are launched.

use super::Correlation;
use crate::cpu::Cast;
use crate::cuda::Argument::{Int, Read, Write};
use crate::cuda::{Argument, Grid, column_sums, empty, files, is_packed, kernel, launch};
use crate::ops::geometry::Window;
use crate::{Array, DType, Result};

/// As in the kernels.
const TILE: usize = 4;
/// As in the kernels.
const WARPS: usize = 4;

/// [`super::correlate`]: x (B, H, W, C), weight (C, 1, kh, kw), bias (C); the result has x's type.
pub(in crate::ops) fn correlate(
    x: &Array,
    weight: &Array,
    bias: Option<&Array>,
    window: &Window,
) -> Result<Array> {
    run(&Correlation::forward(window, x.dims4()?.3), x, weight, bias, false)
}

/// [`super::input_gradient`], in the type of `grad`.
pub(in crate::ops) fn input_gradient(
    grad: &Array,
    weight: &Array,
    bias: Option<&Array>,
    window: &Window,
) -> Result<Array> {
    run(&Correlation::backward(window, grad.dims4()?.3), grad, weight, bias, true)
}

fn run(
    plan: &Correlation,
    x: &Array,
    weight: &Array,
    bias: Option<&Array>,
    turned: bool,
) -> Result<Array> {
    let x = x.contiguous()?;
    let weight = rows_of_taps(weight)?;
    let bias = bias.map(|bias| Ok::<_, crate::Error>(bias.cast(DType::F32)?.contiguous()?));
    let bias = bias.transpose()?;
    let (batch, channels, [height, width]) = (x.dims()[0], plan.channels, plan.output);
    let y = empty((batch, height, width, channels), x.dtype(), x.device())?;
    let mut arguments = vec![Write(&y), Read(&x), Read(&weight), Argument::optional(bias.as_ref())];
    arguments.extend(sizes(batch, plan));
    let offset = plan.offset.map(|offset| Int(offset as i32));
    let [kernel_h, kernel_w] = plan.kernel.map(Argument::size);
    let turned = Int(turned.into());
    if is_tiled(plan) {
        let packed = is_packed(channels, &[&x]);
        arguments.push(kernel_h);
        arguments.extend(offset);
        arguments.extend([turned, Int(packed.into())]);
        let pieces = batch * height * width.div_ceil(TILE);
        let blocks = [pieces.div_ceil(WARPS), lanes(channels, packed), 1];
        let grid = Grid { blocks, threads: 32 * WARPS };
        let name = format!("depthwise_{}", plan.kernel[1]);
        launch(&files::DEPTHWISE, &kernel(&name, &[x.dtype()]), grid, &arguments)?;
        return Ok(y);
    }
    arguments.extend([kernel_h, kernel_w]);
    arguments.extend(offset);
    for pair in [plan.stride, plan.spread, plan.dilation] {
        arguments.extend(pair.map(Argument::size));
    }
    arguments.push(turned);
    let name = kernel("depthwise_any", &[x.dtype()]);
    launch(&files::DEPTHWISE, &name, Grid::pieces(y.elem_count()), &arguments)?;
    Ok(y)
}

/// [`super::weight_gradient`], (C, 1, kh, kw) in f32.
pub(in crate::ops) fn weight_gradient(x: &Array, grad: &Array, window: &Window) -> Result<Array> {
    let (x, grad) = (x.contiguous()?, grad.contiguous()?);
    let (batch, channels) = (x.dims()[0], x.dims()[3]);
    let plan = Correlation::forward(window, channels);
    let taps = window.taps();
    let [kernel_h, kernel_w] = window.kernel;
    let (tiled, packed) = (is_tiled(&plan), is_packed(channels, &[&x, &grad]));
    let (width, across) =
        if tiled { (lanes(channels, packed), kernel_h) } else { (lanes(channels, false), taps) };
    // As many parts as fill a GPU, of some lines for each warp.
    let lines = batch * plan.output[0];
    let parts = lines.div_ceil(4 * WARPS).min(1024usize.div_ceil(width * across)).max(1);
    let grid = Grid { blocks: [across, width, parts], threads: 32 * WARPS };
    let sums = empty((parts, taps, channels), DType::F32, x.device())?;
    let mut arguments = vec![Write(&sums), Read(&x), Read(&grad)];
    arguments.extend(sizes(batch, &plan));
    arguments.push(Argument::size(kernel_h));
    if !tiled {
        arguments.push(Argument::size(kernel_w));
    }
    arguments.extend(plan.offset.map(|offset| Int(offset as i32)));
    let name = if tiled {
        arguments.push(Int(packed.into()));
        format!("depthwise_grad_w_{kernel_w}")
    } else {
        for pair in [plan.stride, plan.dilation] {
            arguments.extend(pair.map(Argument::size));
        }
        "depthwise_grad_w_any".to_owned()
    };
    launch(&files::DEPTHWISE, &kernel(&name, &[x.dtype()]), grid, &arguments)?;
    let weight = column_sums(&sums.reshape((parts, taps * channels))?)?;
    let weight = weight.reshape((taps, channels))?.t()?.contiguous()?;
    Ok(weight.reshape((channels, 1, kernel_h, kernel_w))?)
}

/// Whether the kernels for neighbouring pixels take it.
fn is_tiled(plan: &Correlation) -> bool {
    [plan.stride, plan.spread, plan.dilation] == [[1, 1]; 3] && matches!(plan.kernel[1], 3 | 5 | 7)
}

/// Blocks of the channels that a warp has.
fn lanes(channels: usize, packed: bool) -> usize {
    channels.div_ceil(if packed { 32 * 4 } else { 32 })
}

/// Batch, sizes of the map, channels, sizes of the result.
fn sizes(batch: usize, plan: &Correlation) -> [Argument<'static>; 6] {
    let ([height, width], [out_height, out_width]) = (plan.source, plan.output);
    [batch, height, width, plan.channels, out_height, out_width].map(Argument::size)
}

/// Filters (C, 1, kh, kw) as (taps, C), in f32.
fn rows_of_taps(weight: &Array) -> Result<Array> {
    let (channels, _, kernel_h, kernel_w) = weight.dims4()?;
    let weight = weight.cast(DType::F32)?.contiguous()?;
    Ok(weight.reshape((channels, kernel_h * kernel_w))?.t()?.contiguous()?)
}
