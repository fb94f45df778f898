//! Shift with wrap-around.

use super::shape;
use crate::cpu::{self, select};
use crate::{Array, Error, Result, Tensor, tape};

/// Moves entries of `dims[i]` by `shifts[i]` towards larger indices; what leaves at the end comes
/// back at the beginning.
///
/// # Errors
/// `shifts` and `dims` differ in length, or a dimension does not exist.
pub fn roll(x: &Tensor, shifts: &[i64], dims: &[i64]) -> Result<Tensor> {
    let array = x.array();
    if shifts.len() != dims.len() {
        let what = format!("shifts {shifts:?} for dimensions {dims:?}: one shift per dimension");
        return Err(Error::attribute("Roll", what));
    }
    let mut amounts = vec![0; array.rank()];
    for (shift, dim) in shifts.iter().zip(dims) {
        let dim = shape::dim("Roll", *dim, array.rank())?;
        let size = array.dims()[dim].max(1) as i64;
        amounts[dim] = (amounts[dim] + shift.rem_euclid(size) as usize) % size as usize;
    }
    if amounts.iter().all(|amount| *amount == 0) {
        return Ok(x.clone());
    }
    let output = rolled(&array, &amounts)?;
    Ok(tape::record("Roll", &[x], output, move |grad| {
        let back: Vec<usize> =
            amounts.iter().zip(grad.dims()).map(|(amount, size)| (size - amount) % size).collect();
        Ok(vec![Some(rolled(grad, &back)?)])
    }))
}

/// `amounts` are smaller than the sizes.
fn rolled(x: &Array, amounts: &[usize]) -> Result<Array> {
    if cpu::is_native(x) {
        let table = |(amount, size): (&usize, &usize)| {
            (*amount > 0).then(|| (0..*size).map(|i| (i + size - amount) % size).collect())
        };
        let tables: Vec<_> = amounts.iter().zip(x.dims()).map(table).collect();
        return select::select(x, &tables, 0.0);
    }
    let mut x = x.clone();
    for (dim, amount) in amounts.iter().copied().enumerate().filter(|(_, amount)| *amount > 0) {
        let rest = x.dims()[dim] - amount;
        let parts = [x.narrow(dim, rest, amount)?, x.narrow(dim, 0, rest)?];
        x = Array::cat(&parts, dim)?;
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
        check(Case::of(&[&[2, 4, 5, 2]]), |x| roll(&x[0], &[-1, 2], &[1, 2]));
        check(Case::of(&[&[2, 5]]), |x| roll(&x[0], &[7], &[-1]));
        check(Case::of(&[&[3, 2]]), |x| roll(&x[0], &[1, 1], &[0, 0]));
    }

    #[test]
    fn bad_attributes_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        assert!(roll(&x, &[1], &[0, 1]).is_err());
        assert!(roll(&x, &[1], &[2]).is_err());
        assert_eq!(roll(&x, &[i64::MIN], &[1]).unwrap().dims(), [2, 3]);
    }
}
