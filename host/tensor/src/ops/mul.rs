//! a * b with broadcasting.

use super::broadcast::{Arithmetic, arithmetic, product_to};
use crate::{Result, Tensor, tape};

/// a * b; shapes broadcast, floats meet in the wider type.
///
/// # Errors
/// The shapes do not broadcast.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let output = arithmetic(Arithmetic::Mul, &array_a, &array_b)?;
    let (shape_a, shape_b) = (array_a.dims().to_vec(), array_b.dims().to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    // Each side is kept for the other's gradient alone.
    let factor_of_a = a.is_tracked().then_some(array_b);
    let factor_of_b = b.is_tracked().then_some(array_a);
    Ok(tape::record("Mul", &[a, b], output, move |grad| {
        let grad_a = factor_of_a.map(|b| product_to(grad, &b, &shape_a, type_a)).transpose()?;
        let grad_b = factor_of_b.map(|a| product_to(grad, &a, &shape_b, type_b)).transpose()?;
        Ok(vec![grad_a, grad_b])
    }))
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[3, 1]]), |x| super::mul(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]), |x| super::mul(&x[0], &x[1]));
        check(Case::of(&[&[2, 3]]), |x| super::mul(&x[0], &x[0]));
    }
}
