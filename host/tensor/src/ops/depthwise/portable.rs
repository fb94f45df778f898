//! Depthwise convolution by the tensor library's own operations, for devices without kernels of ours.

use crate::ops::geometry::Window;
use crate::ops::unfold::{fold_taps, taps};
use crate::{Array, Result};

/// [`super::correlate`]: x (B, H, W, C), weight (C, 1, kh, kw), both in the type of
/// the sums.
pub(in crate::ops) fn correlate(x: &Array, weight: &Array, window: &Window) -> Result<Array> {
    let rows = rows_of_taps(weight, window)?;
    let mut sum: Option<Array> = None;
    for (tap, view) in taps(x, window, 0.0)?.iter().enumerate() {
        let term = view.broadcast_mul(&rows.narrow(0, tap, 1)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(sum.expect("a window has at least one tap"))
}

/// [`super::input_gradient`].
pub(in crate::ops) fn input_gradient(
    grad: &Array,
    weight: &Array,
    window: &Window,
) -> Result<Array> {
    let rows = rows_of_taps(weight, window)?;
    let views = (0..window.taps())
        .map(|tap| Ok(grad.broadcast_mul(&rows.narrow(0, tap, 1)?)?))
        .collect::<Result<Vec<_>>>()?;
    fold_taps(&views, window)
}

/// [`super::weight_gradient`], (C, 1, kh, kw).
pub(in crate::ops) fn weight_gradient(x: &Array, grad: &Array, window: &Window) -> Result<Array> {
    let channels = x.dims4()?.3;
    let filters = taps(x, window, 0.0)?
        .iter()
        .map(|view| Ok((view * grad)?.sum((0, 1, 2))?))
        .collect::<Result<Vec<_>>>()?;
    let [kernel_h, kernel_w] = window.kernel;
    Ok(Array::stack(&filters, 1)?.reshape((channels, 1, kernel_h, kernel_w))?)
}

/// Filters (C, 1, kh, kw) as (taps, C).
fn rows_of_taps(weight: &Array, window: &Window) -> Result<Array> {
    let channels = weight.dims()[0];
    Ok(weight.contiguous()?.reshape((channels, window.taps()))?.t()?.contiguous()?)
}
