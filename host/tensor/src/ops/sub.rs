//! a - b with broadcasting.

use super::broadcast::{Arithmetic, arithmetic, reduce_to};
use crate::{Result, Tensor, tape};

/// a - b; shapes broadcast, floats meet in the wider type.
///
/// # Errors
/// The shapes do not broadcast.
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let output = arithmetic(Arithmetic::Sub, &array_a, &array_b)?;
    let needs = (a.is_tracked(), b.is_tracked());
    let (shape_a, shape_b) = (array_a.dims().to_vec(), array_b.dims().to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    Ok(tape::record("Sub", &[a, b], output, move |grad| {
        // The sign after the sum: there are fewer elements to turn.
        let grad_b = || super::affine::scaled(&reduce_to(grad, &shape_b, type_b)?, -1.0, 0.0);
        Ok(vec![
            needs.0.then(|| reduce_to(grad, &shape_a, type_a)).transpose()?,
            needs.1.then(grad_b).transpose()?,
        ])
    }))
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[3, 1]]), |x| super::sub(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]), |x| super::sub(&x[0], &x[1]));
    }
}
