//! Borders.

use super::index::{pick, pick_adjoint};
use crate::cpu::{self, select};
use crate::{Array, Error, PadMode, Result, Tensor, tape};

/// Grows dimension i by `pads[2 i]` entries before and `pads[2 i + 1]` after it: by `value`
/// (constant), by the mirror image without the edge (reflect), or by the edge (replicate).
///
/// # Errors
/// There are not two pads per dimension, a mirrored border is not smaller than its dimension, or a
/// dimension to be continued is empty.
pub fn pad(x: &Tensor, pads: &[usize], mode: PadMode, value: f64) -> Result<Tensor> {
    let array = x.array();
    let dims = array.dims().to_vec();
    if pads.len() != 2 * dims.len() {
        let what = format!("{} pads for {dims:?}; expected before and after each", pads.len());
        return Err(Error::attribute("Pad", what));
    }
    if pads.iter().all(|pad| *pad == 0) {
        return Ok(x.clone());
    }
    let mut total = 1usize;
    for (size, pads) in dims.iter().zip(pads.chunks_exact(2)) {
        let (before, after) = (pads[0], pads[1]);
        let limit = match mode {
            PadMode::Constant => usize::MAX,
            PadMode::Reflect => size.saturating_sub(1),
            PadMode::Replicate if *size == 0 => 0,
            PadMode::Replicate => usize::MAX,
        };
        let grown = size.checked_add(before).and_then(|size| size.checked_add(after));
        let product = grown.and_then(|size| total.checked_mul(size));
        match product.filter(|total| *total < isize::MAX as usize / 8) {
            Some(product) if before <= limit && after <= limit => total = product,
            _ => {
                let what = format!("{mode:?} pads ({before}, {after}) of a dimension of {size}");
                return Err(Error::attribute("Pad", what));
            }
        }
    }
    let tables: Vec<Option<Vec<usize>>> = dims
        .iter()
        .zip(pads.chunks_exact(2))
        .map(|(size, pads)| (pads != [0, 0]).then(|| table(*size, pads[0], pads[1], mode)))
        .collect();
    let starts: Vec<usize> = pads.iter().step_by(2).copied().collect();
    let output = if cpu::is_native(&array) {
        select::select(&array, &tables, value)?
    } else if mode == PadMode::Constant {
        surround(&array, pads, value)?
    } else {
        let axes = tables.iter().enumerate();
        axes.filter_map(|(dim, table)| Some((dim, table.as_ref()?)))
            .try_fold(array.clone(), |x, (dim, table)| pick(&x, dim, table))?
    };
    Ok(tape::record("Pad", &[x], output, move |grad| {
        let mut grad = grad.clone();
        for (dim, size) in dims.iter().enumerate() {
            match &tables[dim] {
                None => {}
                Some(_) if mode == PadMode::Constant => {
                    grad = grad.narrow(dim, starts[dim], *size)?;
                }
                Some(table) => grad = pick_adjoint(&grad, dim, table, *size)?,
            }
        }
        Ok(vec![Some(grad)])
    }))
}

/// Where each entry of the grown dimension comes from.
fn table(size: usize, before: usize, after: usize, mode: PadMode) -> Vec<usize> {
    (0..before + size + after)
        .map(|place| match (place.checked_sub(before), mode) {
            (Some(index), _) if index < size => index,
            (_, PadMode::Constant) => select::NOWHERE,
            (Some(_), PadMode::Replicate) => size - 1,
            (None, PadMode::Replicate) => 0,
            (Some(index), PadMode::Reflect) => 2 * (size - 1) - index,
            (None, PadMode::Reflect) => before - place,
        })
        .collect()
}

fn surround(x: &Array, pads: &[usize], value: f64) -> Result<Array> {
    let mut x = x.clone();
    for (dim, pads) in pads.chunks_exact(2).enumerate().filter(|(_, pads)| *pads != [0, 0]) {
        let border = |len: usize| -> Result<Array> {
            let mut shape = x.dims().to_vec();
            shape[dim] = len;
            let value = Array::full(value, (), x.device())?.to_dtype(x.dtype())?;
            Ok(value.broadcast_as(shape)?.contiguous()?)
        };
        x = Array::cat(&[border(pads[0])?, x.contiguous()?, border(pads[1])?], dim)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Replicate] {
            check(Case::of(&[&[2, 3, 4, 2]]), |x| pad(&x[0], &[0, 0, 2, 1, 0, 3, 0, 0], mode, 0.5));
            check(Case::of(&[&[2, 3]]), |x| pad(&x[0], &[0, 1, 2, 2], mode, -1.0));
        }
    }

    #[test]
    fn bad_pads_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let refused = |pads: &[usize], mode| pad(&x, pads, mode, 0.0).unwrap_err().to_string();
        assert!(refused(&[1, 1], PadMode::Constant).contains("2 pads for [2, 3]"));
        let message = refused(&[0, 0, 3, 0], PadMode::Reflect);
        assert_eq!(message, "Pad: Reflect pads (3, 0) of a dimension of 3");
        assert!(refused(&[usize::MAX, 2, 0, 0], PadMode::Constant).contains("dimension of 2"));
    }
}
