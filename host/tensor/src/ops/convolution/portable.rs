//! Convolution by the tensor library's own operations, for devices without kernels of ours.

use super::{Convolution, widen};
use crate::ops::depthwise;
use crate::ops::geometry::Window;
use crate::ops::matmul::product;
use crate::ops::unfold::{fold_taps, taps};
use crate::{Array, DType, Result, cuda};

impl Convolution {
    pub(super) fn portable_correlate(&self, x: &Array, weight: &Array) -> Result<Array> {
        let [height, width] = self.window.output;
        let shape = (self.batch, height, width, self.outputs);
        if self.is_depthwise() {
            return depthwise::portable::correlate(&widen(x)?, &widen(weight)?, &self.window);
        }
        let weight = self.portable_weight(weight)?.transpose(1, 2)?;
        let product = product(&self.portable_windows(x)?, &weight)?;
        Ok(product.transpose(0, 1)?.contiguous()?.reshape(shape)?)
    }

    pub(super) fn portable_spread(&self, grad: &Array, weight: &Array) -> Result<Array> {
        if self.is_depthwise() {
            return depthwise::portable::input_gradient(
                &widen(grad)?,
                &widen(weight)?,
                &self.window,
            );
        }
        let [height, width] = self.window.output;
        let shape = [self.groups, self.batch, height, width, self.window.taps()];
        let windows = product(&self.portable_grad(grad)?, &self.portable_weight(weight)?)?;
        if self.is_pointwise() {
            return Ok(windows.reshape((self.batch, height, width, self.inputs))?);
        }
        let windows = windows.reshape([shape.as_slice(), &[self.inputs / self.groups]].concat())?;
        if cuda::takes(&windows) {
            return self.cuda_fold(&windows);
        }
        // Sums over taps in f32: a position is read by up to all of them.
        let windows = widen(&windows)?;
        let views = (0..self.window.taps())
            .map(|tap| {
                let view = windows.narrow(4, tap, 1)?.squeeze(4)?;
                let map = (self.batch, height, width, self.inputs);
                Ok(view.permute((1, 2, 3, 0, 4))?.contiguous()?.reshape(map)?)
            })
            .collect::<Result<Vec<_>>>()?;
        fold_taps(&views, &self.window)
    }

    pub(super) fn portable_weight_gradient(&self, x: &Array, grad: &Array) -> Result<Array> {
        if self.is_depthwise() {
            return depthwise::portable::weight_gradient(&widen(x)?, &widen(grad)?, &self.window);
        }
        let grad = self.portable_grad(grad)?.transpose(1, 2)?;
        let weight = product(&grad, &self.portable_windows(x)?)?;
        let (inputs, taps) = (self.inputs / self.groups, self.window.taps());
        let weight = weight.reshape((self.outputs, taps, inputs))?.transpose(1, 2)?;
        Ok(weight.contiguous()?.reshape(self.weight_dims().as_slice())?)
    }

    /// Whether the rows of windows are the map's own.
    fn is_pointwise(&self) -> bool {
        let Window { kernel, stride, padding, .. } = self.window;
        kernel == [1, 1] && stride == [1, 1] && padding == [0, 0] && self.groups == 1
    }

    /// Windows of x by candle's operations: (groups, B OH OW, depth).
    fn portable_windows(&self, x: &Array) -> Result<Array> {
        let inputs = self.inputs / self.groups;
        let pixels = self.batch * self.window.pixels();
        if self.is_pointwise() {
            return Ok(x.contiguous()?.reshape((1, pixels, inputs))?);
        }
        if cuda::takes(x) {
            return self.cuda_windows(x);
        }
        let rows = taps(x, &self.window, 0.0)?
            .iter()
            .map(|view| Ok(view.contiguous()?.reshape((pixels, 1, self.groups, inputs))?))
            .collect::<Result<Vec<_>>>()?;
        let windows = Array::cat(&rows, 1)?.permute((2, 0, 1, 3))?.contiguous()?;
        Ok(windows.reshape((self.groups, pixels, self.depth()))?)
    }

    /// The weight as (groups, O/groups, depth).
    fn portable_weight(&self, weight: &Array) -> Result<Array> {
        let (inputs, taps) = (self.inputs / self.groups, self.window.taps());
        let weight = weight.contiguous()?.reshape((self.outputs, inputs, taps))?;
        let weight = weight.transpose(1, 2)?.contiguous()?;
        Ok(weight.reshape((self.groups, self.outputs / self.groups, self.depth()))?)
    }

    /// A gradient of the output as (groups, B OH OW, O/groups).
    fn portable_grad(&self, grad: &Array) -> Result<Array> {
        let pixels = self.batch * self.window.pixels();
        let shape = (pixels, self.groups, self.outputs / self.groups);
        Ok(grad.contiguous()?.reshape(shape)?.transpose(0, 1)?.contiguous()?)
    }
}

/// A portable result in the operands' type, with the bias added before it is rounded.
pub(super) fn add_bias(output: Array, bias: Option<&Array>, dtype: DType) -> Result<Array> {
    let Some(bias) = bias else { return Ok(output.to_dtype(dtype)?) };
    let wide = widen(&output)?;
    Ok(wide.broadcast_add(&bias.to_dtype(wide.dtype())?)?.to_dtype(dtype)?)
}
