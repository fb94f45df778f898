//! The fused updates: which parameters they take, and the threaded loop.

use rayon::prelude::*;

use super::ema::average;
use crate::cpu::{self, Elements, from_vec, is_native, vectorized};
use crate::ops::array::scaled;
use crate::{Array, DType, Result};

/// Elements per task.
const CHUNK: usize = 16_384;

/// Whether the fused f32 kernels update this value.
pub(super) fn takes(value: &Array) -> bool {
    value.dtype() == DType::F32 && is_native(value)
}

/// The type in which a value of `dtype` is updated.
pub(super) fn working_type(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// What one parameter's step starts from.
pub(super) struct Job<'a> {
    pub value: Array,
    pub gradient: &'a Array,
    /// What clipping leaves of the gradient.
    pub factor: f64,
    /// A teacher's value and its momentum.
    pub teacher: Option<(Array, f64)>,
}

/// What it ends with.
pub(super) struct Moved {
    pub value: Array,
    /// The teacher's new value, if the same pass made it.
    pub teacher: Option<Array>,
}

impl Moved {
    /// A value that was made alone.
    pub fn alone(value: Array) -> Self {
        Self { value, teacher: None }
    }
}

impl Job<'_> {
    /// Value and clipped gradient in the type in which candle's operations update them.
    pub fn operands(&self) -> Result<[Array; 2]> {
        let dtype = working_type(self.value.dtype());
        let gradient = self.gradient.to_dtype(dtype)?;
        let gradient =
            if self.factor == 1.0 { gradient } else { scaled(&gradient, self.factor, 0.0)? };
        Ok([self.value.to_dtype(dtype)?, gradient])
    }

    /// Makes a new value: `body(new, old, gradient, slots)` for pieces of all in parallel, with the
    /// gradient as it was before clipping. The teacher's piece follows while the value's is in cache.
    pub fn update<const N: usize>(
        &self,
        slots: [&mut [f32]; N],
        body: impl Fn(&mut [f32], &[f32], &[f32], [&mut [f32]; N]) + Sync,
    ) -> Result<Moved> {
        let gradient = Elements::of(&self.gradient.to_dtype(DType::F32)?)?;
        let mut new = cpu::unwritten::<f32>(self.value.elem_count());
        let teacher = self.teacher.as_ref().filter(|(teacher, _)| takes(teacher));
        let mut moved = cpu::unwritten::<f32>(teacher.map_or(0, |_| new.len()));
        let followed = teacher.map(|(teacher, _)| Elements::of(teacher)).transpose()?;
        let momentum = teacher.map_or(1.0, |(_, momentum)| *momentum);
        let run = |old: &[f32], gradient: &[f32], followed: &[f32]| {
            let mut slots = slots.map(|slot| slot.chunks_mut(CHUNK));
            let mut teachers = moved.chunks_mut(CHUNK).zip(followed.chunks(CHUNK));
            let mut tasks = Vec::with_capacity(new.len().div_ceil(CHUNK));
            for ((new, old), gradient) in
                new.chunks_mut(CHUNK).zip(old.chunks(CHUNK)).zip(gradient.chunks(CHUNK))
            {
                let slots = slots.each_mut().map(|s| s.next().expect("slots are as long"));
                tasks.push((new, old, gradient, slots, teachers.next()));
            }
            tasks.into_par_iter().for_each(|(new, old, gradient, slots, teacher)| {
                vectorized(
                    #[inline(always)]
                    || {
                        body(new, old, gradient, slots);
                        if let Some((moved, followed)) = teacher {
                            average(moved, followed, new, momentum);
                        }
                    },
                );
            });
        };
        Elements::of(&self.value)?.read(|old: &[f32]| {
            gradient.read(|gradient: &[f32]| match &followed {
                Some(followed) => followed.read(|followed: &[f32]| run(old, gradient, followed)),
                None => {
                    run(old, gradient, &[]);
                    Ok(())
                }
            })
        })???;
        let teacher = teacher.map(|(teacher, _)| from_vec(moved, teacher.shape())).transpose()?;
        Ok(Moved { value: from_vec(new, self.value.shape())?, teacher })
    }
}
