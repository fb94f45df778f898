//! Uniform random values.

use super::full::elements;
use crate::{Array, DType, Device, Error, Result, Tensor, random};

/// Values on [low, high) from the current generator, f32.
///
/// # Errors
/// The bounds are not finite or not in order, or the shape is too large.
pub fn uniform(shape: &[usize], low: f64, high: f64, device: &Device) -> Result<Tensor> {
    let len = elements("Uniform", shape, DType::F32)?;
    let (first, end) = (low as f32, high as f32);
    if !(first.is_finite() && end.is_finite() && first <= end) {
        return Err(Error::attribute("Uniform", format!("bounds [{low}, {high})")));
    }
    let mut values = random::uniform(len);
    if (low, high) != (0.0, 1.0) {
        // Rounding must not reach the open end.
        let last = if first < end { end.next_down() } else { end };
        for value in &mut values {
            *value = ((low + (high - low) * f64::from(*value)) as f32).clamp(first, last);
        }
    }
    Ok(Tensor::constant(Array::from_vec(values, shape, device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_the_half_open_interval() {
        random::scope(3, 1, || {
            let y = uniform(&[1000, 1000], 1.0, 1.0 + 1e-6, &Device::Cpu).unwrap().array();
            let values: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
            let end = (1.0 + 1e-6f64) as f32;
            assert!(values.iter().all(|value| (1.0..end).contains(value)));
            assert!(values.iter().any(|value| *value > 1.0));
            let y = uniform(&[10_000], -2.0, 4.0, &Device::Cpu).unwrap().array();
            let mean = y.mean_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((mean - 1.0).abs() < 0.06, "{mean}");
        });
    }

    #[test]
    fn bad_bounds_are_refused() {
        for (low, high) in [(1.0, 0.0), (0.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(uniform(&[2], low, high, &Device::Cpu).is_err());
        }
    }
}
