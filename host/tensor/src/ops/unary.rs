//! Elementwise functions of one argument.
//!
//! Each keeps for its gradient what costs least: its input or its output.

use super::broadcast::float;
use super::precision::wide;
use crate::cpu::{self, Acc};
use crate::{Array, Result, Tensor, tape, with_real};

/// -x, elementwise.
pub fn neg(x: &Tensor) -> Result<Tensor> {
    super::affine(x, -1.0, 0.0)
}

/// A function by its kernel and candle's operations: the value, and the gradient from what is
/// kept (`input` or `output`) and the output's gradient.
macro_rules! function {
    (
        $(#[$doc:meta])* $name:ident $op:literal keeps $kept:ident
        kernel |$x:ident| $value:expr, |$s:ident, $grad:ident| $slope:expr;
        candle |$y:ident| $portable:expr, |$t:ident| $derivative:expr
    ) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The elements are integers.
        pub fn $name(x: &Tensor) -> Result<Tensor> {
            #[inline(always)]
            fn value<A: Acc>($x: A) -> A {
                $value
            }
            #[inline(always)]
            fn slope<A: Acc>($s: A, $grad: A) -> A {
                $slope
            }
            let input = x.array();
            float($op, &input)?;
            let native = cpu::is_native(&input);
            let output = if native {
                with_real!($op, input.dtype(), T => {
                    cpu::map::<T>(&input, #[inline(always)] |x| value(x))
                })?
            } else {
                let $y = &input;
                $portable?
            };
            let kept = function!(@keep $kept input output);
            Ok(tape::record($op, &[x], output, move |grad| {
                let grad = if native {
                    with_real!($op, kept.dtype(), T => {
                        cpu::zip_map::<T>(&kept, grad, #[inline(always)] |x, grad| slope(x, grad))
                    })?
                } else {
                    let $t = &wide(&kept)?;
                    let derivative: Array = $derivative?;
                    (wide(grad)? * derivative)?.to_dtype(kept.dtype())?
                };
                Ok(vec![Some(grad)])
            }))
        }
    };
    (@keep input $input:ident $output:ident) => { $input };
    (@keep output $input:ident $output:ident) => { $output.clone() };
}

function! {
    /// e^x.
    exp "Exp" keeps output
    kernel |x| x.exp(), |y, grad| grad * y;
    candle |x| x.exp(), |y| Ok::<_, crate::Error>(y.clone())
}
function! {
    /// The natural logarithm; NaN for negative x.
    log "Log" keeps input
    kernel |x| x.ln(), |x, grad| grad / x;
    candle |x| x.log(), |x| x.recip()
}
function! {
    /// The square root; NaN for negative x.
    sqrt "Sqrt" keeps output
    kernel |x| x.sqrt(), |y, grad| grad / (y + y);
    candle |x| x.sqrt(), |y| (y * 2.0)?.recip()
}
function! {
    /// x * x.
    square "Square" keeps input
    kernel |x| x * x, |x, grad| grad * (x + x);
    candle |x| x.sqr(), |x| x * 2.0
}
function! {
    /// |x|; its gradient is 0 at 0.
    abs "Abs" keeps input
    kernel |x| if x < A::ZERO { -x } else { x }, |x, grad| {
        if x > A::ZERO { grad } else if x < A::ZERO { -grad } else { A::ZERO }
    };
    candle |x| x.abs(), |x| x.gt(0f64)?.to_dtype(x.dtype())? - x.lt(0f64)?.to_dtype(x.dtype())?
}
function! {
    /// The sine of x in radians.
    sin "Sin" keeps input
    kernel |x| A::of(x.f64().sin()), |x, grad| grad * A::of(x.f64().cos());
    candle |x| x.sin(), |x| x.cos()
}
function! {
    /// The cosine of x in radians.
    cos "Cos" keeps input
    kernel |x| A::of(x.f64().cos()), |x, grad| -grad * A::of(x.f64().sin());
    candle |x| x.cos(), |x| x.sin()?.neg()
}
function! {
    /// The hyperbolic tangent.
    tanh "Tanh" keeps output
    kernel |x| x.tanh(), |y, grad| grad * (A::ONE - y * y);
    candle |x| x.tanh(), |y| y.sqr()?.affine(-1.0, 1.0)
}
function! {
    /// The logistic function 1 / (1 + e^-x).
    sigmoid "Sigmoid" keeps output
    kernel |x| A::ONE / (A::ONE + (-x).exp()), |y, grad| grad * (y * (A::ONE - y));
    candle |x| (wide(x)?.neg()?.exp()? + 1.0)?.recip()?.to_dtype(x.dtype()), |y| {
        y - y.sqr()?
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        let case = || Case::of(&[&[2, 3, 5]]);
        check(case(), |x| neg(&x[0]));
        check(case(), |x| exp(&x[0]));
        check(case().within(0.3, 3.0), |x| log(&x[0]));
        check(case().within(0.3, 3.0), |x| sqrt(&x[0]));
        check(case(), |x| square(&x[0]));
        check(case(), |x| abs(&x[0]));
        check(case().within(-4.0, 4.0), |x| sin(&x[0]));
        check(case().within(-4.0, 4.0), |x| cos(&x[0]));
        check(case(), |x| tanh(&x[0]));
        check(case().within(-4.0, 4.0), |x| sigmoid(&x[0]));
    }

    #[test]
    fn ends_of_the_range_are_the_limits() {
        let infinite = Array::new(&[f32::NEG_INFINITY, 0.0, f32::INFINITY], &Device::Cpu).unwrap();
        let infinite = Tensor::constant(infinite);
        let of = |result: Result<Tensor>| result.unwrap().array().to_vec1::<f32>().unwrap();
        assert_eq!(of(sigmoid(&infinite)), [0.0, 0.5, 1.0]);
        assert_eq!(of(tanh(&infinite)), [-1.0, 0.0, 1.0]);
        assert_eq!(of(exp(&infinite)), [0.0, 1.0, f32::INFINITY]);
        assert_eq!(of(log(&infinite))[1..], [f32::NEG_INFINITY, f32::INFINITY]);
    }

    #[test]
    fn integers_are_refused() {
        let x = Tensor::constant(Array::zeros(3, DType::I64, &Device::Cpu).unwrap());
        let message = exp(&x).unwrap_err().to_string();
        assert_eq!(message, "Exp: element type I64; expected f32, f64, bf16 or f16");
    }
}
