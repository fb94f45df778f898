//! Exponential moving averages of parameters.

use std::sync::Arc;

use super::fused;
use crate::cpu;
use crate::{Error, Parameter, Result};

/// Teachers that follow their students:
/// teacher <- momentum * teacher + (1 - momentum) * student. Where both are the same, it stays: rounding
/// must not carry away what is never trained.
#[derive(Clone, Debug, Default)]
pub struct Averages {
    /// Share of a teacher that stays.
    pub momentum: f64,
    /// (teacher, student).
    pub pairs: Vec<(Arc<Parameter>, Arc<Parameter>)>,
}

/// Moves one teacher; see [`Averages`].
///
/// # Errors
/// The shapes differ, or the device failed.
pub fn ema(teacher: &Parameter, student: &Parameter, momentum: f64) -> Result<()> {
    check(teacher, student)?;
    let (old, new) = (teacher.value(), student.value());
    let value = if fused::takes(&old) && new.device().is_cpu() {
        let (keep, add) = (momentum as f32, (1.0 - momentum) as f32);
        cpu::zip_map::<f32>(
            &old,
            &new.to_dtype(old.dtype())?,
            #[inline(always)]
            |old, student| moved(old, student, keep, add),
        )?
    } else {
        let dtype = fused::working_type(old.dtype());
        let (old, new) = (old.to_dtype(dtype)?, new.to_device(old.device())?.to_dtype(dtype)?);
        let same = old.eq(&new)?;
        let average = ((&old * momentum)? + (new * (1.0 - momentum))?)?;
        same.where_cond(&old, &average)?
    };
    teacher.set(&value)
}

/// Whether a teacher can follow a student.
pub(super) fn check(teacher: &Parameter, student: &Parameter) -> Result<()> {
    let (old, new) = (teacher.value(), student.value());
    if old.dims() == new.dims() {
        return Ok(());
    }
    Err(Error::shape(
        "ema",
        format!("{:?} of {}", new.dims(), student.name()),
        format!("{:?} of {}", old.dims(), teacher.name()),
    ))
}

#[inline(always)]
fn moved(old: f32, student: f32, keep: f32, add: f32) -> f32 {
    if old == student { old } else { keep * old + add * student }
}

/// One piece of a teacher, moved.
#[inline(always)]
pub(super) fn average(new: &mut [f32], old: &[f32], student: &[f32], momentum: f64) {
    let (keep, add) = (momentum as f32, (1.0 - momentum) as f32);
    for ((new, old), student) in new.iter_mut().zip(old).zip(student) {
        *new = moved(*old, *student, keep, add);
    }
}
