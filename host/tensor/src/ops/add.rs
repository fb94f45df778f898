//! a + b with broadcasting.

use super::broadcast::{Arithmetic, arithmetic, reduce_to};
use crate::{Result, Tensor, tape};

/// a + b; shapes broadcast, floats meet in the wider type.
///
/// # Errors
/// The shapes do not broadcast.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let output = arithmetic(Arithmetic::Add, &array_a, &array_b)?;
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
    use crate::{Array, DType, Device, Tensor};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[3, 1]]), |x| super::add(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]), |x| super::add(&x[0], &x[1]));
        check(Case::of(&[&[2, 1, 3], &[2, 1]]), |x| super::add(&x[0], &x[1]));
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let message = super::add(&zeros(&[2, 3]), &zeros(&[2])).unwrap_err().to_string();
        assert_eq!(message, "Add: [2, 3] and [2]; expected shapes that broadcast");
    }

    #[test]
    fn types_meet_in_the_wider() {
        let of = |dtype| Tensor::constant(Array::ones((2, 2), dtype, &Device::Cpu).unwrap());
        for (a, b, expected) in [
            (DType::BF16, DType::F32, DType::F32),
            (DType::F64, DType::F32, DType::F64),
            (DType::I64, DType::BF16, DType::BF16),
            (DType::BF16, DType::F16, DType::F32),
            (DType::U8, DType::I64, DType::I64),
        ] {
            let sum = super::add(&of(a), &of(b)).unwrap();
            assert_eq!(sum.dtype(), expected, "{a:?} + {b:?}");
            assert_eq!(super::add(&of(b), &of(a)).unwrap().dtype(), expected);
        }
    }
}
