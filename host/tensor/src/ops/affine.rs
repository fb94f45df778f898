//! mul * x + add with constants.

use crate::cpu::{self, Acc, Real};
use crate::{Array, Result, Tensor, tape, with_real};

/// mul * x + add. Constants are applied in f32 to half types, in f64 to f64; integers truncate them.
pub fn affine(x: &Tensor, mul: f64, add: f64) -> Result<Tensor> {
    let output = scaled(&x.array(), mul, add)?;
    Ok(tape::record("Affine", &[x], output, move |grad| Ok(vec![Some(scaled(grad, mul, 0.0)?)])))
}

/// [`affine`] of an array.
pub(crate) fn scaled(x: &Array, mul: f64, add: f64) -> Result<Array> {
    if !cpu::is_native(x) || !x.dtype().is_float() {
        return Ok(x.affine(mul, add)?);
    }
    with_real!("Affine", x.dtype(), T => {
        let (mul, add) = (<T as Real>::Acc::of(mul), <T as Real>::Acc::of(add));
        cpu::map::<T>(x, #[inline(always)] move |x| x * mul + add)
    })
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4]]), |x| super::affine(&x[0], -1.7, 0.3));
    }
}
