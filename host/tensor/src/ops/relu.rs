//! The rectifier max(x, 0) (Nair and Hinton, 2010).

use super::broadcast::float;
use crate::cpu::{self, Acc};
use crate::{Result, Tensor, tape, with_real};

/// max(x, 0), elementwise; the gradient is 0 at 0, and NaN stays.
///
/// # Errors
/// The elements are integers.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let input = x.array();
    float("Relu", &input)?;
    let native = cpu::is_native(&input);
    let output = if native {
        with_real!("Relu", input.dtype(), T => {
            cpu::map::<T>(&input, #[inline(always)] |x| if x < Acc::ZERO { Acc::ZERO } else { x })
        })?
    } else {
        input.relu()?
    };
    let kept = output.clone();
    Ok(tape::record("Relu", &[x], output, move |grad| {
        let grad = if native {
            with_real!("Relu", kept.dtype(), T => {
                cpu::zip_map::<T>(&kept, grad, #[inline(always)] |y, grad| {
                    if y > Acc::ZERO { grad } else { Acc::ZERO }
                })
            })?
        } else {
            (grad * kept.gt(0f64)?.to_dtype(grad.dtype())?)?
        };
        Ok(vec![Some(grad)])
    }))
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5]]), |x| super::relu(&x[0]));
    }
}
