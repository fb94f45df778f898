//! A range of one dimension.

use super::shape;
use crate::{Error, Result, Tensor, tape};

/// `len` entries of `dim` from `start`. A view; the gradients of several ranges of one tensor become
/// one array in one copy, in the order in which that tensor lay in memory.
///
/// # Errors
/// The range does not lie inside the dimension.
pub fn narrow(x: &Tensor, dim: i64, start: usize, len: usize) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("Narrow", dim, array.rank())?;
    let size = array.dims()[dim];
    if start.checked_add(len).is_none_or(|end| end > size) {
        let what = format!("{len} entries from {start} of dimension {dim}, which has {size}");
        return Err(Error::attribute("Narrow", what));
    }
    if len == size {
        return Ok(x.clone());
    }
    let output = array.narrow(dim, start, len)?;
    Ok(tape::record_slice("Narrow", x, output, dim, start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::ops::{add, cat, permute};
    use crate::{Array, DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 5, 3]]), |x| narrow(&x[0], 1, 1, 3));
        check(Case::of(&[&[3, 2]]), |x| narrow(&x[0], -2, 0, 2));
    }

    #[test]
    fn gradient_of_several_ranges() {
        check(Case::of(&[&[2, 6, 3]]), |x| {
            let part = |start| narrow(&x[0], 1, start, 2);
            cat(&[&part(4)?, &part(0)?, &part(2)?], 0)
        });
        check(Case::of(&[&[4, 6, 3]]), |x| {
            let turned = permute(&x[0], &[2, 0, 1])?;
            let overlapping = [narrow(&turned, 2, 0, 4)?, narrow(&turned, 2, 2, 4)?];
            let overlapping = cat(&[&overlapping[0], &overlapping[1]], 0)?;
            let column = narrow(&turned, 2, 0, 1)?;
            add(&overlapping, &narrow(&cat(&[&column, &column], 0)?, 0, 0, 6)?)
        });
        check(Case::of(&[&[2, 6, 3]]), |x| {
            add(&narrow(&x[0], 1, 1, 1)?, &add(&x[0], &narrow(&x[0], 1, 2, 1)?)?)
        });
    }

    #[test]
    fn ranges_outside_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        for (dim, start, len) in [(1, 1, 3), (0, 3, 0), (2, 0, 1), (1, usize::MAX, 2)] {
            let message = narrow(&x, dim, start, len).unwrap_err().to_string();
            assert!(message.starts_with("Narrow: "), "{message}");
        }
    }
}
