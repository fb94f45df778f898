//! GELU with the exact error function: x Phi(x) (Hendrycks and Gimpel, 2016).

use crate::cpu::{self, Real};
use crate::{Array, DType, Result, Tensor, cuda, tape, with_real};

/// x Phi(x), elementwise.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let array = x.array();
    if cuda::takes(&array) {
        let output = cuda::map_all(&cuda::files::GELU, "gelu", &array)?;
        return Ok(tape::record("Gelu", &[x], output, move |grad| {
            Ok(vec![Some(cuda::zip_all(&cuda::files::GELU, "gelu_grad", &array, grad)?)])
        }));
    }
    if !cpu::is_native(&array) {
        let output = array.gelu_erf()?;
        return Ok(tape::record("Gelu", &[x], output, move |grad| {
            Ok(vec![Some((grad * derivative(&array)?)?)])
        }));
    }
    if !tape::is_recorded(&[x]) {
        return Ok(Tensor::constant(kernel(&array)?));
    }
    // The slope takes the place of x in memory, and costs little where Phi(x) is known.
    let (output, slope) = kernel_and_slope(&array)?;
    Ok(tape::record("Gelu", &[x], output, move |grad| Ok(vec![Some(scaled(grad, &slope)?)])))
}

fn kernel(x: &Array) -> Result<Array> {
    with_real!("Gelu", x.dtype(), T => cpu::map::<T>(x, #[inline(always)] |x| x * T::normal(x).0))
}

/// x Phi(x), and its derivative Phi(x) + x phi(x).
fn kernel_and_slope(x: &Array) -> Result<(Array, Array)> {
    with_real!("Gelu", x.dtype(), T => {
        cpu::map_twice::<T>(x, #[inline(always)] |x| {
            let (below, density) = T::normal(x);
            (x * below, below + x * density)
        })
    })
}

fn scaled(grad: &Array, slope: &Array) -> Result<Array> {
    with_real!("Gelu", slope.dtype(), T => {
        cpu::zip_map::<T>(grad, slope, #[inline(always)] |grad, slope| grad * slope)
    })
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
