//! Limits to an interval.

use crate::cpu::{self, Acc, Real};
use crate::{Array, Error, Result, Tensor, tape, with_real};

/// x limited to \[min, max\]; the gradient passes inside and is zero at the ends and outside (as
/// PyTorch 2.15 has it). NaN stays.
///
/// # Errors
/// `min` exceeds `max`, or one of them is NaN.
pub fn clamp(x: &Tensor, min: f64, max: f64) -> Result<Tensor> {
    if min > max || min.is_nan() || max.is_nan() {
        return Err(Error::attribute("Clamp", format!("min {min} must not exceed max {max}")));
    }
    let array = x.array();
    let native = cpu::is_native(&array) && array.dtype().is_float();
    let output = if native { kernel(&array, min, max)? } else { array.clamp(min, max)? };
    Ok(tape::record("Clamp", &[x], output, move |grad| {
        let grad = if native {
            kernel_backward(&array, grad, min, max)?
        } else {
            let inside = (array.gt(min)? * array.lt(max)?)?;
            (grad * inside.to_dtype(grad.dtype())?)?
        };
        Ok(vec![Some(grad)])
    }))
}

fn kernel(x: &Array, min: f64, max: f64) -> Result<Array> {
    with_real!("Clamp", x.dtype(), T => {
        let (min, max) = (<T as Real>::Acc::of(min), <T as Real>::Acc::of(max));
        cpu::map::<T>(x, #[inline(always)] |x| {
            let x = if x < min { min } else { x };
            if x > max { max } else { x }
        })
    })
}

fn kernel_backward(x: &Array, grad: &Array, min: f64, max: f64) -> Result<Array> {
    with_real!("Clamp", x.dtype(), T => {
        let (min, max) = (<T as Real>::Acc::of(min), <T as Real>::Acc::of(max));
        cpu::zip_map::<T>(x, grad, #[inline(always)] |x, grad| {
            if (x > min) & (x < max) { grad } else { Acc::ZERO }
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};
    use crate::{Array, Device, Tensor};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4]]), |x| super::clamp(&x[0], -0.5, 0.8));
        check(Case::of(&[&[2, 3, 4]]), |x| super::clamp(&x[0], f64::NEG_INFINITY, 0.3));
    }

    #[test]
    fn an_empty_interval_is_refused() {
        let x = Tensor::constant(Array::new(&[1f32], &Device::Cpu).unwrap());
        let message = super::clamp(&x, 1.0, 0.0).unwrap_err().to_string();
        assert_eq!(message, "Clamp: min 1 must not exceed max 0");
        assert!(super::clamp(&x, f64::NAN, 0.0).is_err());
    }
}
