//! Exponential moving averages of parameters.

use super::fused;
use crate::{Error, Parameter, Result};

/// teacher <- momentum * teacher + (1 - momentum) * student. Where both are the same, it stays: rounding
/// must not carry away what is never trained.
///
/// # Errors
/// The shapes differ, or the device failed.
pub fn ema(teacher: &Parameter, student: &Parameter, momentum: f64) -> Result<()> {
    let (old, new) = (teacher.value(), student.value());
    if old.dims() != new.dims() {
        return Err(Error::shape(
            "ema",
            format!("{:?} of {}", new.dims(), student.name()),
            format!("{:?} of {}", old.dims(), teacher.name()),
        ));
    }
    let average = if fused::takes(&old) && new.device().is_cpu() {
        let (keep, add) = (momentum as f32, (1.0 - momentum) as f32);
        fused::update(
            &old,
            &new,
            [],
            #[inline(always)]
            |average, old, new, []| {
                for ((average, old), new) in average.iter_mut().zip(old).zip(new) {
                    *average = if old == new { *old } else { keep * old + add * new };
                }
            },
        )?
    } else {
        let dtype = fused::working_type(old.dtype());
        let (old, new) = (old.to_dtype(dtype)?, new.to_device(old.device())?.to_dtype(dtype)?);
        let same = old.eq(&new)?;
        let average = ((&old * momentum)? + (new * (1.0 - momentum))?)?;
        same.where_cond(&old, &average)?
    };
    teacher.set(&average)
}
