//! x to a constant power.

use super::broadcast::float;
use super::precision::wide;
use crate::cpu::{self, Acc, Real};
use crate::{Array, Result, Tensor, tape, with_real};

/// x^exponent, elementwise; NaN for negative x unless the exponent is an integer.
///
/// # Errors
/// The elements are integers.
pub fn powf(x: &Tensor, exponent: f64) -> Result<Tensor> {
    let array = x.array();
    float("Powf", &array)?;
    let native = cpu::is_native(&array);
    let output = if native { kernel(&array, exponent)? } else { array.powf(exponent)? };
    Ok(tape::record("Powf", &[x], output, move |grad| {
        let grad = if exponent == 0.0 {
            grad.zeros_like()?
        } else if native {
            kernel_backward(&array, grad, exponent)?
        } else {
            let slope = (wide(&array)?.powf(exponent - 1.0)? * exponent)?;
            (wide(grad)? * slope)?.to_dtype(array.dtype())?
        };
        Ok(vec![Some(grad)])
    }))
}

/// The powers that need no logarithm are common: roots, their inverses, small integers.
#[inline(always)]
fn power<A: Acc>(x: A, exponent: f64) -> A {
    match exponent {
        0.0 => A::ONE,
        0.5 => x.sqrt(),
        1.0 => x,
        2.0 => x * x,
        3.0 => x * x * x,
        -0.5 => A::ONE / x.sqrt(),
        -1.0 => A::ONE / x,
        -1.5 => A::ONE / (x * x.sqrt()),
        -2.0 => A::ONE / (x * x),
        _ => A::of(x.f64().powf(exponent)),
    }
}

fn kernel(x: &Array, exponent: f64) -> Result<Array> {
    with_real!("Powf", x.dtype(), T => {
        cpu::map::<T>(x, #[inline(always)] |x| power(x, exponent))
    })
}

/// grad exponent x^(exponent - 1).
fn kernel_backward(x: &Array, grad: &Array, exponent: f64) -> Result<Array> {
    with_real!("Powf", x.dtype(), T => {
        let factor = <T as Real>::Acc::of(exponent);
        cpu::zip_map::<T>(x, grad, #[inline(always)] |x, grad| {
            grad * (factor * power(x, exponent - 1.0))
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        for exponent in [0.5, -0.5, 2.0, -1.0, 0.75, 3.0] {
            check(Case::of(&[&[2, 3, 4]]).within(0.5, 2.0), |x| super::powf(&x[0], exponent));
        }
        check(Case::of(&[&[2, 3]]).within(-2.0, -0.5), |x| super::powf(&x[0], 3.0));
        check(Case::of(&[&[2, 3]]), |x| super::powf(&x[0], 0.0));
    }
}
