//! Another element type.

use crate::{DType, Result, Tensor, cpu, tape};

/// `x` as `dtype`; the gradient is cast back. Nothing flows through a type that is no float.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let array = x.array();
    let from = array.dtype();
    if from == dtype {
        return Ok(x.clone());
    }
    let output = cpu::convert(&array, dtype)?;
    if !dtype.is_float() || !from.is_float() {
        return Ok(Tensor::constant(output));
    }
    Ok(tape::record("Cast", &[x], output, move |grad| Ok(vec![Some(cpu::convert(grad, from)?)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{Array, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3]]), |x| cast(&cast(&x[0], DType::F64)?, x[0].dtype()));
    }

    #[test]
    fn the_gradient_has_the_type_of_the_input() {
        let x = tape::input(Array::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap());
        let y = cast(&x, DType::BF16).unwrap();
        assert_eq!(y.dtype(), DType::BF16);
        let ones = y.array().ones_like().unwrap();
        let mut parameters = crate::Gradients::default();
        let grads = tape::backward_from(&[(y, ones)], &[x], &mut parameters).unwrap();
        assert_eq!(grads[0].as_ref().unwrap().dtype(), DType::F32);
    }

    #[test]
    fn integers_carry_no_gradient() {
        let x = tape::input(Array::new(&[1.7f32, -2.2], &Device::Cpu).unwrap());
        let y = cast(&x, DType::I64).unwrap();
        assert_eq!(y.array().to_vec1::<i64>().unwrap(), [1, -2]);
        assert!(!y.is_tracked());
    }
}
