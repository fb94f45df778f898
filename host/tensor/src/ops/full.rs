//! One value.

use crate::{Array, DType, Device, Error, Result, Tensor, with_element};

/// A tensor of `shape` that holds `value` everywhere.
///
/// # Errors
/// The shape is too large, or an integer type cannot hold the value.
pub fn full(shape: &[usize], value: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    let len = elements("Full", shape, dtype)?;
    holds("Full", value, dtype)?;
    with_element!("Full", dtype, T => {
        let value = <T as candle_core::WithDType>::from_f64(value);
        Ok(Tensor::constant(Array::from_vec(vec![value; len], shape, device)?))
    })
}

/// Number of elements of a tensor to be made; whatever a plugin asks for must not abort the host.
pub(crate) fn elements(op: &'static str, shape: &[usize], dtype: DType) -> Result<usize> {
    let refuse = || Error::attribute(op, format!("shape {shape:?} of {dtype:?}: out of memory"));
    let len = shape.iter().try_fold(1usize, |len, size| len.checked_mul(*size));
    let len = len.ok_or_else(refuse)?;
    let bytes = len.checked_mul(dtype.size_in_bytes()).ok_or_else(refuse)?;
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| refuse())?;
    Ok(len)
}

/// That an integer type can hold a value.
pub(crate) fn holds(op: &'static str, value: f64, dtype: DType) -> Result<()> {
    // 2^63 itself is no i64, though its neighbour below rounds to it.
    let fits = match dtype {
        DType::U8 => (0.0..=255.0).contains(&value),
        DType::U32 => (0.0..=f64::from(u32::MAX)).contains(&value),
        DType::I64 => (-(2f64.powi(63))..2f64.powi(63)).contains(&value),
        _ => return Ok(()),
    };
    if fits && value.fract() == 0.0 {
        return Ok(());
    }
    Err(Error::attribute(op, format!("value {value} in {dtype:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_filled() {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U32] {
            let y = full(&[2, 3], 7.0, dtype, &Device::Cpu).unwrap().array();
            assert_eq!(y.dtype(), dtype);
            let values = y.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            assert_eq!(values, vec![vec![7.0; 3]; 2]);
        }
        assert_eq!(full(&[], 2.0, DType::F32, &Device::Cpu).unwrap().dims(), [0usize; 0]);
    }

    #[test]
    fn what_cannot_be_held_is_refused() {
        let refused = |shape: &[usize], value, dtype| {
            full(shape, value, dtype, &Device::Cpu).unwrap_err().to_string()
        };
        assert_eq!(refused(&[1], -1.0, DType::U8), "Full: value -1 in U8");
        assert_eq!(refused(&[1], 0.5, DType::I64), "Full: value 0.5 in I64");
        assert!(refused(&[usize::MAX, 2], 0.0, DType::F32).contains("out of memory"));
        assert!(refused(&[1 << 61], 0.0, DType::F32).contains("out of memory"));
    }
}
