//! Reversal.

use super::index::pick;
use super::shape;
use crate::cpu::{self, select};
use crate::{Array, Result, Tensor, tape};

/// Reverses `dims`.
///
/// # Errors
/// A dimension does not exist or repeats.
pub fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    if dims.is_empty() {
        return Ok(x.clone());
    }
    let array = x.array();
    let dims = shape::dims("Flip", dims, array.rank())?;
    let output = flipped(&array, &dims)?;
    Ok(tape::record("Flip", &[x], output, move |grad| Ok(vec![Some(flipped(grad, &dims)?)])))
}

fn flipped(x: &Array, dims: &[usize]) -> Result<Array> {
    let reversed = |dim: usize| (0..x.dims()[dim]).rev().collect::<Vec<usize>>();
    if cpu::is_native(x) {
        let table = |dim| dims.contains(&dim).then(|| reversed(dim));
        return select::select(x, &(0..x.rank()).map(table).collect::<Vec<_>>(), 0.0);
    }
    dims.iter().try_fold(x.clone(), |x, dim| pick(&x, *dim, &reversed(*dim)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4, 2]]), |x| flip(&x[0], &[1, 2]));
        check(Case::of(&[&[2, 3]]), |x| flip(&x[0], &[-1]));
    }

    #[test]
    fn bad_dimensions_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        assert!(flip(&x, &[2]).is_err());
        assert!(flip(&x, &[1, -1]).unwrap_err().to_string().contains("repeat"));
    }
}
