//! SiLU: x sigmoid(x) (Elfwing et al., 2018).

use super::broadcast::float;
use super::precision::wide;
use crate::cpu::{self, Acc};
use crate::{Array, Result, Tensor, tape, with_real};

/// x sigmoid(x), elementwise.
///
/// # Errors
/// The elements are integers.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    let array = x.array();
    float("Silu", &array)?;
    let native = cpu::is_native(&array);
    let output = if native {
        with_real!("Silu", array.dtype(), T => {
            cpu::map::<T>(&array, #[inline(always)] |x| x * sigmoid(x))
        })?
    } else {
        let wide = wide(&array)?;
        (&wide * portable_sigmoid(&wide)?)?.to_dtype(array.dtype())?
    };
    Ok(tape::record("Silu", &[x], output, move |grad| {
        let grad = if native {
            with_real!("Silu", array.dtype(), T => {
                cpu::zip_map::<T>(&array, grad, #[inline(always)] |x, grad| grad * slope(x))
            })?
        } else {
            let x = wide(&array)?;
            let s = portable_sigmoid(&x)?;
            let slope = (&s * (x * (1.0 - &s)?)?.affine(1.0, 1.0)?)?;
            (wide(grad)? * slope)?.to_dtype(array.dtype())?
        };
        Ok(vec![Some(grad)])
    }))
}

#[inline(always)]
fn sigmoid<A: Acc>(x: A) -> A {
    A::ONE / (A::ONE + (-x).exp())
}

/// s (1 + x (1 - s)) with s = sigmoid(x).
#[inline(always)]
fn slope<A: Acc>(x: A) -> A {
    let s = sigmoid(x);
    s * (A::ONE + x * (A::ONE - s))
}

fn portable_sigmoid(x: &Array) -> Result<Array> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]).within(-4.0, 4.0), |x| super::silu(&x[0]));
    }
}
