//! Normal random values.

use super::full::elements;
use crate::{Array, DType, Device, Error, Result, Tensor, random};

/// Values with the given mean and standard deviation from the current generator, f32.
///
/// # Errors
/// The deviation is negative, a number is not finite, or the shape is too large.
pub fn normal(shape: &[usize], mean: f64, std: f64, device: &Device) -> Result<Tensor> {
    let len = elements("Normal", shape, DType::F32)?;
    if !(mean.is_finite() && std.is_finite() && std >= 0.0) {
        let what = format!("mean {mean} and standard deviation {std}");
        return Err(Error::attribute("Normal", what));
    }
    let mut values = random::normal(len);
    if (mean, std) != (0.0, 1.0) {
        for value in &mut values {
            *value = (mean + std * f64::from(*value)) as f32;
        }
    }
    Ok(Tensor::constant(Array::from_vec(values, shape, device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_asked_for() {
        random::scope(3, 1, || {
            let y = normal(&[100, 1000], 3.0, 0.5, &Device::Cpu).unwrap().array();
            let mean = y.mean_all().unwrap().to_scalar::<f32>().unwrap();
            let variance = (y - f64::from(mean)).unwrap().sqr().unwrap().mean_all().unwrap();
            assert!((mean - 3.0).abs() < 0.01, "{mean}");
            assert!((variance.to_scalar::<f32>().unwrap() - 0.25).abs() < 0.01);
        });
    }

    #[test]
    fn bad_attributes_are_refused() {
        for (mean, std) in [(0.0, -1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert!(normal(&[2], mean, std, &Device::Cpu).is_err());
        }
    }
}
