//! The fused updates: which parameters they take, and the threaded loop.

use rayon::prelude::*;

use crate::cpu::{Elements, from_vec, is_native, vectorized};
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

/// Makes a new value: `body(new, old, gradient, slots)` for pieces of all in parallel.
pub(super) fn update<const N: usize>(
    value: &Array,
    gradient: &Array,
    slots: [&mut [f32]; N],
    body: impl Fn(&mut [f32], &[f32], &[f32], [&mut [f32]; N]) + Sync,
) -> Result<Array> {
    let gradient = Elements::of(&gradient.to_dtype(DType::F32)?)?;
    let mut new = vec![0f32; value.elem_count()];
    Elements::of(value)?.read(|old: &[f32]| {
        gradient.read(|gradient: &[f32]| {
            let mut tasks = Vec::with_capacity(new.len().div_ceil(CHUNK));
            let mut slots = slots.map(|slot| slot.chunks_mut(CHUNK));
            for ((new, old), gradient) in
                new.chunks_mut(CHUNK).zip(old.chunks(CHUNK)).zip(gradient.chunks(CHUNK))
            {
                let slots = slots.each_mut().map(|s| s.next().expect("slots are as long"));
                tasks.push((new, old, gradient, slots));
            }
            tasks.into_par_iter().for_each(|(new, old, gradient, slots)| {
                vectorized(
                    #[inline(always)]
                    || body(new, old, gradient, slots),
                );
            });
        })
    })??;
    from_vec(new, value.shape())
}
