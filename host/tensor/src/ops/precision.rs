//! The float types in which norms, softmax and losses compute and answer.

use crate::cpu::Cast;
use crate::{Array, DType, Error, Result, mode};

/// Refuses what is no float type.
///
/// # Errors
/// `dtype` is no float type.
pub(crate) fn check_float(op: &'static str, dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::F64 | DType::BF16 | DType::F16 => Ok(()),
        found => Err(Error::Type { op, found, expected: "f32, f64, bf16 or f16" }),
    }
}

/// What a norm, softmax or loss returns for an input of `dtype`: the same type, but f32 for a half
/// type under autocast.
///
/// # Errors
/// `dtype` is no float type.
pub(crate) fn result_type(op: &'static str, dtype: DType) -> Result<DType> {
    match dtype {
        DType::BF16 | DType::F16 if mode::current().autocast => Ok(DType::F32),
        _ => check_float(op, dtype).map(|()| dtype),
    }
}

/// The type in which values of x's type are computed with: f32 for half types.
pub(crate) fn wide_type(x: &Array) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The values in the type in which they are computed with: half types as f32.
pub(crate) fn wide(x: &Array) -> Result<Array> {
    x.cast(wide_type(x))
}

/// Runs `$body` with `$from` and `$to` bound to the element types of the input and the result that
/// [`result_type`] allows together.
macro_rules! with_result {
    ($op:expr, $input:expr, $output:expr, $from:ident, $to:ident => $body:expr) => {{
        macro_rules! run {
            ($a:ty, $b:ty) => {{
                type $from = $a;
                type $to = $b;
                $body
            }};
        }
        use $crate::DType::{BF16, F16, F32, F64};
        match ($input, $output) {
            (F32, F32) => run!(f32, f32),
            (F64, F64) => run!(f64, f64),
            (BF16, BF16) => run!(half::bf16, half::bf16),
            (BF16, F32) => run!(half::bf16, f32),
            (F16, F16) => run!(half::f16, half::f16),
            (F16, F32) => run!(half::f16, f32),
            (found, _) => {
                Err($crate::Error::Type { op: $op, found, expected: "f32, f64, bf16 or f16" })
            }
        }
    }};
}
pub(crate) use with_result;
