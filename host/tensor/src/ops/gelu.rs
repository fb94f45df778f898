//! GELU with the exact error function: x Phi(x) (Hendrycks and Gimpel, 2016).

use crate::cpu::{self, Acc};
use crate::{Array, DType, Result, Tensor, tape, with_real};

/// x Phi(x), elementwise.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let array = x.array();
    let output = if cpu::is_native(&array) { kernel(&array)? } else { array.gelu_erf()? };
    Ok(tape::record("Gelu", &[x], output, move |grad| {
        let grad = if cpu::is_native(&array) {
            kernel_backward(&array, grad)?
        } else {
            (grad * derivative(&array)?)?
        };
        Ok(vec![Some(grad)])
    }))
}

#[inline(always)]
fn cdf<A: Acc>(x: A) -> A {
    A::of(0.5) * (A::ONE + (x * A::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

fn kernel(x: &Array) -> Result<Array> {
    with_real!("Gelu", x.dtype(), T => cpu::map::<T>(x, #[inline(always)] |x| x * cdf(x)))
}

fn kernel_backward(x: &Array, grad: &Array) -> Result<Array> {
    with_real!("Gelu", x.dtype(), T => {
        cpu::zip_map::<T>(x, grad, #[inline(always)] |x, grad| grad * slope(x))
    })
}

/// Phi(x) + x phi(x).
#[inline(always)]
fn slope<A: Acc>(x: A) -> A {
    let norm = A::of(1.0 / std::f64::consts::TAU.sqrt());
    cdf(x) + x * norm * (A::of(-0.5) * x * x).exp()
}

/// Phi(x) + x phi(x) by candle's operations.
fn derivative(x: &Array) -> Result<Array> {
    let wide = if x.dtype() == DType::F64 { x.clone() } else { x.to_dtype(DType::F32)? };
    let cdf = (((&wide * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    let pdf = ((wide.sqr()? * -0.5)?.exp()? * (1.0 / std::f64::consts::TAU.sqrt()))?;
    Ok((cdf + (wide * pdf)?)?.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]).within(-3.0, 3.0), |x| super::gelu(&x[0]));
    }
}
