//! a + b with broadcasting.

use super::broadcast::{promote, reduce_to};
use crate::{Result, Tensor, tape};

/// a + b; shapes broadcast, floats meet in the wider type.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let (left, right) = promote(&array_a, &array_b)?;
    let output = left.broadcast_add(&right)?;
    let needs = (a.is_tracked(), b.is_tracked());
    let (shape_a, shape_b) = (array_a.dims().to_vec(), array_b.dims().to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    Ok(tape::record("Add", &[a, b], output, move |grad| {
        Ok(vec![
            needs.0.then(|| reduce_to(grad, &shape_a, type_a)).transpose()?,
            needs.1.then(|| reduce_to(grad, &shape_b, type_b)).transpose()?,
        ])
    }))
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[3, 1]]), |x| super::add(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]), |x| super::add(&x[0], &x[1]));
    }
}
