//! The CUDA kernels of dense convolution, and how they are launched.

use super::Convolution;
use crate::cuda::Argument::{self, Int, Long, Read, Write};
use crate::cuda::{Grid, empty, files, is_packed, kernel, launch};
use crate::{Array, DType, Result};

impl Convolution {
    /// Windows of x (B, H, W, I): (groups, B OH OW, depth), of x's type.
    pub(super) fn cuda_windows(&self, x: &Array) -> Result<Array> {
        let x = x.contiguous()?;
        let windows = empty((self.groups, self.count(), self.depth()), x.dtype(), x.device())?;
        let packed = is_packed(self.inputs / self.groups, &[&x]);
        let arguments = self.arguments(&windows, &x, &[Int(packed.into())]);
        let count = windows.elem_count();
        launch(
            &files::CONVOLUTION,
            &kernel("unfold", &[x.dtype()]),
            pieces(count, packed),
            &arguments,
        )?;
        Ok(windows)
    }

    /// The map (B, H, W, I), f32, that such windows add up to.
    pub(super) fn cuda_fold(&self, windows: &Array) -> Result<Array> {
        let windows = windows.contiguous()?;
        let [height, width] = self.window.input;
        let x = empty((self.batch, height, width, self.inputs), DType::F32, windows.device())?;
        let packed = is_packed(self.inputs / self.groups, &[&windows]);
        let last = [Argument::count(&x), Int(packed.into())];
        let arguments = self.arguments(&x, &windows, &last);
        let grid = pieces(x.elem_count(), packed);
        launch(&files::CONVOLUTION, &kernel("fold", &[windows.dtype()]), grid, &arguments)?;
        Ok(x)
    }

    /// Windows of all images.
    fn count(&self) -> usize {
        self.batch * self.window.pixels()
    }

    fn arguments<'a>(
        &self,
        to: &'a Array,
        from: &'a Array,
        last: &[Argument<'a>],
    ) -> Vec<Argument<'a>> {
        let window = &self.window;
        let pairs = [
            window.input,
            window.output,
            window.kernel,
            window.stride,
            window.padding,
            window.dilation,
            [self.groups, self.inputs / self.groups],
        ];
        let mut arguments = vec![Write(to), Read(from), Long(self.count() as i64)];
        arguments.extend(pairs.into_iter().flatten().map(Argument::size));
        arguments.extend_from_slice(last);
        arguments
    }
}

/// A thread for each element, or for four.
fn pieces(elements: usize, packed: bool) -> Grid {
    Grid::pieces(if packed { elements / 4 } else { elements })
}
