//! Evenly spaced values.

use super::full::{elements, holds};
use crate::{Array, DType, Device, Result, Tensor, with_element};

/// start, start + step, ..: `len` values, computed in f64 and rounded once.
///
/// # Errors
/// `len` is too large, or an integer type cannot hold a value.
pub fn arange(start: f64, step: f64, len: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    elements("Arange", &[len], dtype)?;
    if len > 0 {
        holds("Arange", start, dtype)?;
        holds("Arange", start + step * (len - 1) as f64, dtype)?;
    }
    with_element!("Arange", dtype, T => {
        let value = |i: usize| <T as candle_core::WithDType>::from_f64(start + step * i as f64);
        let values: Vec<T> = (0..len).map(value).collect();
        Ok(Tensor::constant(Array::from_vec(values, len, device)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_evenly_spaced() {
        let floats = arange(1.0, -0.5, 4, DType::F32, &Device::Cpu).unwrap().array();
        assert_eq!(floats.to_vec1::<f32>().unwrap(), [1.0, 0.5, 0.0, -0.5]);
        let integers = arange(3.0, 2.0, 3, DType::I64, &Device::Cpu).unwrap().array();
        assert_eq!(integers.to_vec1::<i64>().unwrap(), [3, 5, 7]);
        assert_eq!(arange(0.0, 1.0, 0, DType::U8, &Device::Cpu).unwrap().dims(), [0]);
    }

    #[test]
    fn values_outside_the_type_are_refused() {
        assert!(arange(0.0, 1.0, 257, DType::U8, &Device::Cpu).is_err());
        assert!(arange(0.0, -1.0, 2, DType::U32, &Device::Cpu).is_err());
        assert!(arange(0.0, 1.0, usize::MAX, DType::F32, &Device::Cpu).is_err());
    }
}
