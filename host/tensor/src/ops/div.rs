//! a / b with broadcasting.

use super::affine::scaled;
use super::broadcast::{Arithmetic, arithmetic, product_to, reduce_to};
use crate::{Result, Tensor, tape};

/// a / b; shapes broadcast, floats meet in the wider type.
///
/// # Errors
/// The shapes do not broadcast, or both sides are integers.
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let output = arithmetic(Arithmetic::Div, &array_a, &array_b)?;
    let (shape_a, shape_b) = (array_a.dims().to_vec(), array_b.dims().to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    let needs_a = a.is_tracked();
    let quotient = b.is_tracked().then(|| output.clone());
    Ok(tape::record("Div", &[a, b], output, move |grad| {
        // da = grad / b, db = -(grad / b) (a / b)
        let share = arithmetic(Arithmetic::Div, grad, &array_b)?;
        let grad_a = needs_a.then(|| reduce_to(&share, &shape_a, type_a)).transpose()?;
        let grad_b =
            |quotient| scaled(&product_to(&share, &quotient, &shape_b, type_b)?, -1.0, 0.0);
        Ok(vec![grad_a, quotient.map(grad_b).transpose()?])
    }))
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};
    use crate::{Array, Device, Tensor};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[3, 1]]).within(0.5, 2.0), |x| super::div(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]).within(-2.0, -0.5), |x| super::div(&x[0], &x[1]));
    }

    #[test]
    fn integers_are_not_divided() {
        let x = Tensor::constant(Array::new(&[1i64, 0], &Device::Cpu).unwrap());
        let message = super::div(&x, &x).unwrap_err().to_string();
        assert!(message.starts_with("Div: element type I64"), "{message}");
    }
}
