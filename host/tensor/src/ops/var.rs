//! Variance over dimensions.

use super::affine::scaled;
use super::broadcast::{Arithmetic, arithmetic, float};
use super::shape;
use super::sum::{finish, total};
use crate::{Array, Error, Result, Tensor, cpu, tape, with_real};

/// Variance over `dims` (all if empty) by two passes, divided by n - `correction`. Half types are
/// computed in f32; under autocast the result stays f32.
///
/// # Errors
/// A dimension does not exist or repeats, n does not exceed `correction`, or the elements are
/// integers.
pub fn var(x: &Tensor, dims: &[i64], correction: usize, keepdim: bool) -> Result<Tensor> {
    let array = x.array();
    float("Var", &array)?;
    let dims = shape::dims("Var", dims, array.rank())?;
    let terms: usize = dims.iter().map(|dim| array.dims()[*dim]).product();
    if terms <= correction {
        return Err(Error::attribute(
            "Var",
            format!("correction {correction} needs more elements than that; found {terms}"),
        ));
    }
    let mean = total("Var", &array, &dims, 1.0 / terms as f64)?;
    let weight = 1.0 / (terms - correction) as f64;
    let output = squares(&arithmetic(Arithmetic::Sub, &array, &mean)?, &dims, weight)?;
    let kept_shape = output.dims().to_vec();
    let output = finish("Var", output, &dims, keepdim, array.dtype())?;
    Ok(tape::record("Var", &[x], output, move |grad| {
        // 2 (x - mean) / (n - correction)
        let grad = scaled(&grad.reshape(kept_shape)?, 2.0 * weight, 0.0)?;
        let centred = arithmetic(Arithmetic::Sub, &array, &mean)?;
        let grad = arithmetic(Arithmetic::Mul, &centred, &grad)?;
        Ok(vec![Some(grad.to_dtype(array.dtype())?)])
    }))
}

fn squares(x: &Array, dims: &[usize], scale: f64) -> Result<Array> {
    if !cpu::is_native(x) {
        return total("Var", &x.sqr()?, dims, scale);
    }
    with_real!("Var", x.dtype(), T => cpu::sum_terms::<T>(x, dims, scale, |x| x * x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        for dims in [&[][..], &[-1], &[0], &[0, 2]] {
            check(Case::of(&[&[2, 3, 4]]), |x| var(&x[0], dims, 1, false));
            check(Case::of(&[&[2, 3, 4]]), |x| var(&x[0], dims, 0, true));
        }
    }

    #[test]
    fn a_large_mean_does_not_hurt() {
        let x = Array::new(&[10_000f32, 10_001.0, 10_002.0], &Device::Cpu).unwrap();
        let var = var(&Tensor::constant(x), &[], 1, false).unwrap();
        assert_eq!(var.scalar().unwrap(), 1.0);
    }

    #[test]
    fn one_element_has_no_unbiased_variance() {
        let x = Tensor::constant(Array::zeros((3, 1), DType::F32, &Device::Cpu).unwrap());
        let message = var(&x, &[1], 1, false).unwrap_err().to_string();
        assert!(message.contains("correction 1 needs more elements than that; found 1"));
    }
}
