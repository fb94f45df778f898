//! Indices of the largest and smallest along a dimension. They have no gradient.

use super::max::locate;
use super::shape;
use super::sum::squeeze;
use crate::{Result, Tensor};

/// Index (i64) of the first largest along `dim`; NaN counts as the largest.
///
/// # Errors
/// `dim` is outside the rank or has no element.
pub fn argmax(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    index("Argmax", x, dim, keepdim, true)
}

/// Index (i64) of the first smallest along `dim`; NaN counts as the smallest.
///
/// # Errors
/// `dim` is outside the rank or has no element.
pub fn argmin(x: &Tensor, dim: i64, keepdim: bool) -> Result<Tensor> {
    index("Argmin", x, dim, keepdim, false)
}

fn index(op: &'static str, x: &Tensor, dim: i64, keepdim: bool, largest: bool) -> Result<Tensor> {
    let index = locate(op, &x.array(), dim, largest)?.1;
    let dim = shape::dim(op, dim, index.rank())?;
    Ok(Tensor::constant(squeeze(index, &[dim], keepdim)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Array, DType, Device};

    #[test]
    fn integers_have_a_first_largest_too() {
        let x = Tensor::constant(Array::new(&[[3i64, 7, 7], [5, 1, 0]], &Device::Cpu).unwrap());
        let most = argmax(&x, 1, false).unwrap().array();
        assert_eq!((most.dtype(), most.to_vec1::<i64>().unwrap()), (DType::I64, vec![1, 0]));
        assert_eq!(argmin(&x, -1, true).unwrap().array().to_vec2::<i64>().unwrap(), [[0], [2]]);
    }

    #[test]
    fn dimensions_that_are_not_there_are_named() {
        let x = Tensor::constant(Array::new(1f32, &Device::Cpu).unwrap());
        let message = argmax(&x, 0, false).unwrap_err().to_string();
        assert!(message.contains("dimension 0 of a tensor of rank 0"), "{message}");
    }
}
