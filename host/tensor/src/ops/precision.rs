//! The float types in which norms, softmax and losses compute and answer.

use crate::{Array, DType, Error, Result, mode};

/// What a norm, softmax or loss returns for an input of `dtype`: the same type, but f32 for a half
/// type under autocast.
///
/// # Errors
/// `dtype` is no float type.
pub(crate) fn result_type(op: &'static str, dtype: DType) -> Result<DType> {
    match dtype {
        DType::BF16 | DType::F16 if mode::current().autocast => Ok(DType::F32),
        DType::F32 | DType::F64 | DType::BF16 | DType::F16 => Ok(dtype),
        found => Err(Error::Type { op, found, expected: "f32, f64, bf16 or f16" }),
    }
}

/// The values in the type in which they are computed with: half types as f32.
pub(crate) fn wide(x: &Array) -> Result<Array> {
    Ok(if x.dtype() == DType::F64 { x.clone() } else { x.to_dtype(DType::F32)? })
}
