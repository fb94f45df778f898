//! What [`super::conv2d`] and [`super::conv_transpose2d`] share: a correlation over a map and its
//! two adjoints, each on the way that fits it.
//!
//! * Pointwise (1x1): one matrix product.
//! * Depthwise: [`super::depthwise`].
//! * 3x3 at stride 1, of many channels, in f32 and bf16: [`winograd`].
//! * Others of one group: windows read where they lie in a padded map ([`gathered`]).
//! * Any other, and gradients: windows as rows of a matrix ([`super::unfold`]), a part of them at a
//!   time, times the weight. All threads work on one part: the product packs the weight, which may be
//!   larger than the windows, once for all of them.

mod check;
mod element;
mod gathered;
mod portable;
mod windows;
mod winograd;

use std::ops::Range;

use candle_core::WithDType;
use half::bf16;
use rayon::prelude::*;

use super::depthwise;
use super::geometry::Window;
use super::sum::total;
use super::unfold::{Channels, fold, unfold_all};
use crate::cpu::{self, Acc, Elements, Matrix, Real, Start, vectorized};
use crate::{Array, DType, Result, cuda, with_real};
pub(super) use check::check_weight;
use element::Element;
use portable::add_bias;
use winograd::{Order, Winograd};

/// A correlation of maps (B, H, W, `inputs`) with a weight (`outputs`, `inputs`/groups, kh, kw).
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub batch: usize,
    pub window: Window,
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
}

/// Runs `$body` with `$type` bound to the element type of an [`operand`].
macro_rules! with_element {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            DType::F64 => {
                type $type = f64;
                $body
            }
            DType::BF16 => {
                type $type = bf16;
                $body
            }
            _ => {
                type $type = f32;
                $body
            }
        }
    };
}

/// Runs `$body` with `$type` bound to bf16 or f32.
macro_rules! with_brief {
    ($dtype:expr, $type:ident => $body:expr) => {
        if $dtype == DType::BF16 {
            type $type = bf16;
            $body
        } else {
            type $type = f32;
            $body
        }
    };
}

/// Elements of a part's windows: with the weight, about what the last cache holds.
const PART: usize = 2 * 1024 * 1024;

/// Elements of the windows that one thread holds while it folds them: about what its cache holds.
const TILE: usize = 128 * 1024;

/// Columns of a product from which on it is worth its windows.
const NARROW: usize = 12;

/// Windows below which the packing of the weight would outweigh the product.
const FEWEST: usize = 128;

/// bf16 and f16 as f32, in which products are summed.
fn widen(x: &Array) -> Result<Array> {
    if x.dtype() == DType::F64 { Ok(x.clone()) } else { cpu::convert(x, DType::F32) }
}

/// In a type that is an [`Element`].
fn operand(x: &Array) -> Result<Array> {
    if x.dtype() == DType::F16 { cpu::convert(x, DType::F32) } else { Ok(x.clone()) }
}

impl Convolution {
    fn is_depthwise(&self) -> bool {
        self.groups == self.inputs && self.groups == self.outputs && self.groups > 1
    }

    /// Whether a product with as many columns as a group has inputs would fill no register.
    fn is_narrow(&self) -> bool {
        self.inputs / self.groups < NARROW
    }

    /// Length of a row of the matrix of one group's windows.
    fn depth(&self) -> usize {
        self.window.taps() * self.inputs / self.groups
    }

    /// The input channels of a group.
    fn channels(&self, group: usize) -> Channels {
        let len = self.inputs / self.groups;
        Channels { of: self.inputs, start: group * len, len }
    }

    /// Outputs of a group, and the first of them.
    fn group(&self, group: usize) -> (usize, usize) {
        let len = self.outputs / self.groups;
        (len, group * len)
    }

    /// Shape of the weight.
    fn weight_dims(&self) -> [usize; 4] {
        let [kernel_h, kernel_w] = self.window.kernel;
        [self.outputs, self.inputs / self.groups, kernel_h, kernel_w]
    }

    /// The convolution whose forward pass is this one's gradient of the input, where there is one:
    /// at stride 1, with the weight turned round and its channels exchanged.
    fn turned(&self) -> Option<Self> {
        let Window { input, output, kernel, stride, padding, dilation } = self.window;
        let reach = [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1));
        if stride != [1, 1] || (0..2).any(|axis| reach[axis] < padding[axis]) {
            return None;
        }
        let padding = [0, 1].map(|axis| reach[axis] - padding[axis]);
        let window = Window { input: output, output: input, kernel, stride, padding, dilation };
        Some(Self { window, inputs: self.outputs, outputs: self.inputs, ..*self })
    }

    /// The same by minimal filtering, where that is worth it and its error may be borne.
    fn winograd(&self, dtype: DType) -> Option<Winograd> {
        if dtype == DType::F64 { None } else { Winograd::of(self) }
    }

    /// The map (B, OH, OW, outputs) of x (B, H, W, inputs), plus the bias.
    pub fn correlate(&self, x: &Array, weight: &Array, bias: Option<&Array>) -> Result<Array> {
        let dtype = x.dtype();
        let [height, width] = self.window.output;
        let shape = (self.batch, height, width, self.outputs);
        if self.is_depthwise() && cuda::takes(x) {
            return depthwise::cuda::correlate(x, weight, bias, &self.window);
        }
        if !cpu::is_native(x) {
            return add_bias(self.portable_correlate(x, weight)?, bias, dtype);
        }
        let (x, weight) = (operand(x)?, operand(weight)?);
        if let Some(winograd) = self.winograd(x.dtype()) {
            let output = filtered(&winograd, (&x, &weight), Order::Plain, bias, shape)?;
            return cpu::convert(&output, dtype);
        }
        let output = with_element!(x.dtype(), T => {
            let bias = values::<<T as Real>::Acc>(bias)?;
            let bias = bias.as_deref();
            let output = if self.is_depthwise() {
                read(&x, &widen(&weight)?, |x: &[T], weight| {
                    depthwise::correlate(x, weight, bias, &self.window, self.inputs)
                })?
            } else {
                read(&x, &weight, |x: &[T], weight| match self.is_plain_product() {
                    true => self.pixels(x, Matrix::transposed(weight, self.inputs), bias),
                    false => self.product(x, &self.columns(weight), bias),
                })?
            };
            cpu::from_vec(output, shape)
        })?;
        cpu::convert(&output, dtype)
    }

    /// The adjoint of [`Self::correlate`] with respect to x, applied to `grad` (B, OH, OW, outputs),
    /// plus a bias: (B, H, W, inputs).
    pub fn spread(&self, grad: &Array, weight: &Array, bias: Option<&Array>) -> Result<Array> {
        let dtype = grad.dtype();
        let [height, width] = self.window.input;
        let shape = (self.batch, height, width, self.inputs);
        if self.is_depthwise() && cuda::takes(grad) {
            return depthwise::cuda::input_gradient(grad, weight, bias, &self.window);
        }
        if !cpu::is_native(grad) {
            return add_bias(self.portable_spread(grad, weight)?, bias, dtype);
        }
        let (grad, weight) = (operand(grad)?, operand(weight)?);
        let turned = self.turned();
        if let Some(winograd) = turned.and_then(|turned| turned.winograd(grad.dtype())) {
            let output = filtered(&winograd, (&grad, &weight), Order::Turned, bias, shape)?;
            return cpu::convert(&output, dtype);
        }
        let output = with_element!(grad.dtype(), T => {
            let bias = values::<<T as Real>::Acc>(bias)?;
            let bias = bias.as_deref();
            if self.is_depthwise() {
                let output = read(&grad, &widen(&weight)?, |grad: &[T], weight| {
                    depthwise::input_gradient(grad, weight, bias, &self.window, self.inputs)
                })?;
                cpu::from_vec(output, shape)
            } else if let Some(turned) = turned.filter(|_| !self.is_narrow()) {
                let output = read(&grad, &weight, |grad: &[T], weight| match self.is_plain_product() {
                    true => turned.pixels(grad, Matrix::rows(weight, self.inputs), bias),
                    false => turned.product(grad, &self.turned_weight(weight), bias),
                })?;
                cpu::from_vec(output, shape)
            } else {
                let output = read(&grad, &weight, |grad: &[T], weight| {
                    self.folded(grad, &self.packed(weight), bias)
                })?;
                cpu::from_vec(output, shape)
            }
        })?;
        cpu::convert(&output, dtype)
    }

    /// The gradient of the weight, from x (B, H, W, inputs) and `grad` (B, OH, OW, outputs).
    pub fn weight_gradient(&self, x: &Array, grad: &Array) -> Result<Array> {
        if self.is_depthwise() && cuda::takes(x) {
            return depthwise::cuda::weight_gradient(x, grad, &self.window);
        }
        if !cpu::is_native(x) {
            return self.portable_weight_gradient(x, grad);
        }
        let (x, grad) = (operand(x)?, operand(grad)?);
        if let Some(winograd) = self.winograd(x.dtype()) {
            let weight = with_brief!(x.dtype(), T => {
                read(&x, &grad, |x: &[T], grad| winograd.weight_gradient(x, grad))
            })?;
            return cpu::from_vec(weight, self.weight_dims().as_slice());
        }
        with_element!(x.dtype(), T => {
            let weight = read(&x, &grad, |x: &[T], grad: &[T]| match self.is_depthwise() {
                true => depthwise::weight_gradient(x, grad, &self.window, self.inputs),
                false => self.unpacked(&self.outer(x, grad)),
            })?;
            cpu::from_vec(weight, self.weight_dims().as_slice())
        })
    }

    /// Weights (O, I, taps) as the right matrices of a product: per group (taps, I, O).
    fn columns<T: Copy + Default>(&self, weight: &[T]) -> Vec<T> {
        let (inputs, taps) = (self.inputs / self.groups, self.window.taps());
        let outputs = self.outputs / self.groups;
        let mut columns = vec![T::default(); weight.len()];
        for (output, weight) in weight.chunks_exact(inputs * taps).enumerate() {
            let (group, output) = (output / outputs, output % outputs);
            for (input, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, value) in weight.iter().enumerate() {
                    let row = (group * taps + tap) * inputs + input;
                    columns[row * outputs + output] = *value;
                }
            }
        }
        columns
    }

    /// Weights (O, I, taps) as (O, taps, I).
    fn packed<T: Copy + Default>(&self, weight: &[T]) -> Vec<T> {
        exchange(weight, self.inputs / self.groups, self.window.taps())
    }

    /// The inverse of [`Self::packed`].
    fn unpacked<T: Copy + Default>(&self, weight: &[T]) -> Vec<T> {
        exchange(weight, self.window.taps(), self.inputs / self.groups)
    }

    /// [`Self::columns`] of [`Self::turned`], from the weight as it is: per group (reversed taps, O, I).
    fn turned_weight<T: Copy + Default>(&self, weight: &[T]) -> Vec<T> {
        let (inputs, taps) = (self.inputs / self.groups, self.window.taps());
        let outputs = self.outputs / self.groups;
        let mut turned = vec![T::default(); weight.len()];
        for (output, weight) in weight.chunks_exact(inputs * taps).enumerate() {
            let (group, output) = (output / outputs, output % outputs);
            for (input, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, value) in weight.iter().rev().enumerate() {
                    let row = (group * taps + tap) * outputs + output;
                    turned[row * inputs + input] = *value;
                }
            }
        }
        turned
    }

    /// Output rows of a part; all of them where windows are pixels or do not overlap, so that they are
    /// no larger than the map.
    fn part(&self) -> usize {
        let rows = self.batch * self.window.output[0];
        let [height, width] = self.window.input;
        if self.window.taps() * self.window.pixels() <= height * width {
            return rows;
        }
        (PART / self.depth()).max(FEWEST).div_ceil(self.window.output[1]).min(rows)
    }

    /// Output rows, of so many, whose windows make a tile.
    fn tile(&self, rows: usize) -> usize {
        (TILE / self.depth()).max(FEWEST).div_ceil(self.window.output[1]).min(rows)
    }

    /// The windows of some output rows; the map itself where they are its pixels.
    fn windows<'a, T: Element>(
        &self,
        x: &'a [T],
        group: usize,
        rows: Range<usize>,
        scratch: &'a mut Vec<T>,
    ) -> Matrix<'a, T> {
        let depth = self.depth();
        let pixels = rows.len() * self.window.output[1];
        let channels = self.channels(group);
        if self.window.is_pointwise() {
            let start = rows.start * self.window.output[1] * self.inputs;
            return Matrix { data: &x[start + channels.start..], row: channels.of, column: 1 };
        }
        scratch.resize(pixels * depth, T::default());
        let matrix = &mut scratch[..pixels * depth];
        unfold_all(x, &self.window, channels, rows.start, matrix);
        Matrix::rows(matrix, depth)
    }

    /// Whether the map and the weight are the matrices of a product as they lie.
    fn is_plain_product(&self) -> bool {
        self.window.is_pointwise() && self.groups == 1
    }

    /// x weight + bias, of a pixel's channels each; weight is (inputs x outputs).
    fn pixels<T: Element>(
        &self,
        x: &[T],
        weight: Matrix<'_, T>,
        bias: Option<&[T::Acc]>,
    ) -> Vec<T> {
        let size = (self.batch * self.window.pixels(), self.inputs, self.outputs);
        let mut output = cpu::unwritten(size.0 * size.2);
        let start = bias.map_or(Start::Zero, Start::Bias);
        let threads = rayon::current_num_threads();
        T::product(&mut output, Matrix::rows(x, self.inputs), weight, size, start, threads);
        output
    }

    /// windows(x) weight + bias, of [`Self::columns`].
    fn product<T: Element>(&self, x: &[T], weight: &[T], bias: Option<&[T::Acc]>) -> Vec<T> {
        if let Some(output) = self.gathered(x, weight, bias) {
            return output;
        }
        let (depth, columns) = (self.depth(), self.window.output[1]);
        let threads = rayon::current_num_threads();
        let most = self.part();
        let mut output = cpu::unwritten(self.batch * self.window.pixels() * self.outputs);
        let (mut scratch, mut part) = (Vec::new(), Vec::new());
        let parts = output.chunks_mut(most * columns * self.outputs);
        for (index, output) in parts.enumerate() {
            let pixels = output.len() / self.outputs;
            let rows = index * most..index * most + pixels / columns;
            for group in 0..self.groups {
                let (len, start) = self.group(group);
                let weight = Matrix::rows(&weight[start * depth..], len);
                let windows = self.windows(x, group, rows.clone(), &mut scratch);
                let bias = bias.map(|bias| &bias[start..start + len]);
                let first = bias.map_or(Start::Zero, Start::Bias);
                let size = (pixels, depth, len);
                if self.groups == 1 {
                    T::product(output, windows, weight, size, first, threads);
                    continue;
                }
                part.resize(pixels * len, T::default());
                T::product(&mut part[..pixels * len], windows, weight, size, first, threads);
                for (output, part) in
                    output.chunks_exact_mut(self.outputs).zip(part.chunks_exact(len))
                {
                    output[start..start + len].copy_from_slice(part);
                }
            }
        }
        output
    }

    /// fold(grad weight) + bias.
    fn folded<T: Element>(&self, grad: &[T], weight: &[T], bias: Option<&[T::Acc]>) -> Vec<T::Acc> {
        let (depth, columns) = (self.depth(), self.window.output[1]);
        let image = self.window.input[0] * self.window.input[1] * self.inputs;
        let mut output = vec![T::Acc::ZERO; self.batch * image];
        let threads = threads_inside(self.batch);
        let tile = self.tile(self.window.output[0]);
        let images = output.par_chunks_mut(image).enumerate();
        images.for_each_init(Vec::new, |scratch: &mut Vec<T::Acc>, (index, output)| {
            if let Some(bias) = bias {
                output.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
            }
            scratch.resize(tile * columns * depth, T::Acc::ZERO);
            for first in (0..self.window.output[0]).step_by(tile) {
                let rows = first..(first + tile).min(self.window.output[0]);
                let pixels = rows.len() * columns;
                let scratch = &mut scratch[..pixels * depth];
                let place = (index * self.window.output[0] + first) * columns;
                for group in 0..self.groups {
                    let (len, start) = self.group(group);
                    let grad = &grad[place * self.outputs + start..];
                    let grad = Matrix { data: grad, row: self.outputs, column: 1 };
                    let weight = Matrix::rows(&weight[start * depth..], depth);
                    T::sums(scratch, grad, weight, (pixels, len, depth), Start::Zero, threads);
                    let channels = self.channels(group);
                    let rows = rows.clone();
                    vectorized(
                        #[inline(always)]
                        || fold(scratch, &self.window, channels, rows, output),
                    );
                }
            }
        });
        output
    }

    /// grad^T windows(x), the gradient of the packed weight.
    fn outer<T: Element>(&self, x: &[T], grad: &[T]) -> Vec<T::Acc> {
        let (depth, columns) = (self.depth(), self.window.output[1]);
        let threads = rayon::current_num_threads();
        let rows = self.batch * self.window.output[0];
        let mut sums = cpu::unwritten::<T::Acc>(self.outputs * depth);
        let mut scratch = Vec::new();
        let most = self.part();
        for first in (0..rows).step_by(most) {
            let rows = first..rows.min(first + most);
            let pixels = rows.len() * columns;
            for group in 0..self.groups {
                let (len, start) = self.group(group);
                let windows = self.windows(x, group, rows.clone(), &mut scratch);
                let grad = &grad[rows.start * columns * self.outputs + start..];
                let grad = Matrix { data: grad, row: 1, column: self.outputs };
                let sums = &mut sums[start * depth..(start + len) * depth];
                let start = if rows.start == 0 { Start::Zero } else { Start::Out };
                T::sums(sums, grad, windows, (len, pixels, depth), start, threads);
            }
        }
        sums
    }
}

/// [`Winograd::correlate`] of arrays of f32 or bf16.
fn filtered(
    winograd: &Winograd,
    (x, weight): (&Array, &Array),
    order: Order,
    bias: Option<&Array>,
    shape: (usize, usize, usize, usize),
) -> Result<Array> {
    let bias = values::<f32>(bias)?;
    with_brief!(x.dtype(), T => {
        let output = read(x, weight, |x: &[T], weight| {
            winograd.correlate(x, weight, order, bias.as_deref())
        })?;
        cpu::from_vec(output, shape)
    })
}

/// How many threads each of `tasks` parallel tasks may use inside.
fn threads_inside(tasks: usize) -> usize {
    (rayon::current_num_threads() / tasks).max(1)
}

/// (rows, a, b) as (rows, b, a).
fn exchange<T: Copy + Default>(data: &[T], a: usize, b: usize) -> Vec<T> {
    if a == 1 || b == 1 {
        return data.to_vec();
    }
    let mut turned = vec![T::default(); data.len()];
    for (turned, data) in turned.chunks_exact_mut(a * b).zip(data.chunks_exact(a * b)) {
        for (i, row) in data.chunks_exact(b).enumerate() {
            row.iter().enumerate().for_each(|(j, value)| turned[j * a + i] = *value);
        }
    }
    turned
}

/// Hands the elements of two arrays to `body`.
fn read<A: WithDType, B: WithDType, R>(
    a: &Array,
    b: &Array,
    body: impl FnOnce(&[A], &[B]) -> R,
) -> Result<R> {
    let (a, b) = (Elements::of(a)?, Elements::of(b)?);
    a.read(|a: &[A]| b.read(|b: &[B]| body(a, b)))?
}

/// A bias in the type of the sums.
fn values<T: WithDType>(bias: Option<&Array>) -> Result<Option<Vec<T>>> {
    bias.map(|bias| Ok(bias.to_dtype(T::DTYPE)?.to_vec1()?)).transpose()
}

/// Sums of a gradient over all but the channels: the gradient of a bias, in the bias's type.
pub(super) fn bias_gradient(grad: &Array, dtype: DType) -> Result<Array> {
    const OP: &str = "Conv2d";
    let channels = grad.dims()[grad.rank() - 1];
    if !cpu::is_native(grad) {
        let dims: Vec<usize> = (0..grad.rank() - 1).collect();
        return Ok(total(OP, grad, &dims, 1.0)?.reshape(channels)?.to_dtype(dtype)?);
    }
    let sums = with_real!(OP, grad.dtype(), T => Elements::of(grad)?.read(|grad: &[T]| {
        cpu::from_vec(cpu::channel_sums(grad, channels), channels)
    })?)?;
    Ok(sums.to_dtype(dtype)?)
}

#[cfg(test)]
mod tests {
    use crate::{Array, DType, Device};

    /// Elements in [-1, 1), of a seed.
    pub(super) fn values(shape: &[usize], seed: u64) -> Array {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / f64::from(1 << 23) - 1.0
        };
        let values = (0..shape.iter().product()).map(|_| next()).collect::<Vec<f64>>();
        Array::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// The largest difference, relative to the largest element.
    pub(super) fn error(found: &Array, exact: &Array) -> f64 {
        assert_eq!(found.dims(), exact.dims());
        let most = |x: &Array| {
            let x = x.abs().unwrap().flatten_all().unwrap();
            x.max(0).unwrap().to_scalar::<f64>().unwrap()
        };
        most(&(found.to_dtype(DType::F64).unwrap() - exact).unwrap()) / most(exact)
    }
}
