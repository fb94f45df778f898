//! The CUDA kernels of optimizers, and how they are launched: one for many parameters.

use std::sync::{Mutex, PoisonError};

use super::adamw::Factors;
use super::fused::{Job, Moved};
use crate::cuda::Argument::{Float, Many, Read, Write};
use crate::cuda::{self, Grid, empty, files, launch, upload};
use crate::{Array, DType, Result};

/// Whether the kernels update this value.
pub(super) fn takes(value: &Array) -> bool {
    value.dtype() == DType::F32 && cuda::takes(value)
}

/// Threads of a block.
const THREADS: usize = 256;

/// Elements that a block updates: the kernel's CHUNK.
const CHUNK: usize = 4096;

/// Elements that are updated by one launch, about: until then old values and new ones are in memory.
const MOST: usize = 1 << 26;

/// The updates of a step that are not launched yet.
pub(super) struct Updates {
    betas: (f64, f64),
    eps: f64,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// [`ARRAYS`] of each parameter, as the kernel's `Parameter` has them.
    arrays: Vec<Option<Array>>,
    /// [`FACTORS`] of each, as its `Factors` has them.
    factors: Vec<f32>,
    /// The parameter, its elements and a chunk of them for each block.
    work: Vec<u32>,
    elements: usize,
}

const ARRAYS: usize = 9;
const FACTORS: usize = 6;

impl Updates {
    /// Of AdamW with these.
    pub fn new(betas: (f64, f64), eps: f64) -> Self {
        Self { betas, eps, pending: Mutex::default() }
    }

    /// The new value, the teacher's, and the new moments. They are there after [`Updates::launch`].
    pub fn add(
        &self,
        job: &Job<'_>,
        [first, second]: &[Array; 2],
        factors: &Factors,
    ) -> Result<(Moved, [Array; 2])> {
        let old = job.value.contiguous()?;
        let gradient = job.gradient.to_dtype(DType::F32)?.contiguous()?;
        let like = || empty(old.shape(), DType::F32, old.device());
        let (value, new_first, new_second) = (like()?, like()?, like()?);
        let followed = job.teacher.as_ref().filter(|(teacher, _)| takes(teacher));
        let teacher = followed.map(|(teacher, _)| teacher.contiguous()).transpose()?;
        let momentum = followed.map_or(1.0, |(_, momentum)| *momentum);
        let moved = teacher.as_ref().map(|_| like()).transpose()?;
        let count = old.elem_count();

        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let index = pending.arrays.len() / ARRAYS;
        pending.arrays.extend([&value, &new_first, &new_second].map(|array| Some(array.clone())));
        pending.arrays.push(moved.clone());
        let given = [old, gradient, first.contiguous()?, second.contiguous()?];
        pending.arrays.extend(given.map(Some));
        pending.arrays.push(teacher);
        let Factors { keep, rate, correction, .. } = *factors;
        let numbers = [job.factor, keep, rate, correction, momentum, 1.0 - momentum];
        pending.factors.extend(numbers.map(|number| number as f32));
        for chunk in 0..count.div_ceil(CHUNK) {
            pending.work.extend([index, count, chunk].map(word));
        }
        pending.elements += count;
        if pending.elements >= MOST {
            self.make(std::mem::take(&mut *pending))?;
        }
        Ok((Moved { value, teacher: moved }, [new_first, new_second]))
    }

    /// Makes what was announced.
    pub fn launch(self) -> Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.make(std::mem::take(&mut *pending))
    }

    fn make(&self, pending: Pending) -> Result<()> {
        let Pending { arrays, factors, work, .. } = pending;
        let arrays: Vec<_> = arrays.iter().map(Option::as_ref).collect();
        let Some(device) = arrays.iter().flatten().map(|array| array.device()).next() else {
            return Ok(());
        };
        let blocks = work.len() / 3;
        let factors = upload(&factors, (factors.len() / FACTORS, FACTORS), device)?;
        let work = upload(&work, (blocks, 3), device)?;
        let (beta1, beta2) = self.betas;
        let float = |number: f64| Float(number as f32);
        launch(
            &files::ADAMW,
            "adamw",
            Grid { blocks: [blocks, 1, 1], threads: THREADS },
            &[
                Many(&arrays),
                Read(&factors),
                Read(&work),
                float(1.0 - beta1),
                float(beta2),
                float(1.0 - beta2),
                float(self.eps),
            ],
        )
    }
}

fn word(number: usize) -> u32 {
    u32::try_from(number).expect("a parameter has less than 2^32 elements")
}

/// Parts in which an array's squares are summed.
const PARTS: usize = 64;

/// The Euclidean norms of some arrays, for which the host waits once.
pub(super) fn norms(arrays: &[&Array]) -> Result<Vec<f64>> {
    let Some(device) = arrays.first().map(|array| array.device()) else { return Ok(Vec::new()) };
    let arrays = arrays
        .iter()
        .map(|array| Ok(array.to_dtype(DType::F32)?.contiguous()?))
        .collect::<Result<Vec<_>>>()?;
    let counts: Vec<u32> = arrays.iter().map(|array| word(array.elem_count())).collect();
    let counts = upload(&counts, counts.len(), device)?;
    let parts = empty((arrays.len(), PARTS), DType::F32, device)?;
    let list: Vec<_> = arrays.iter().map(Some).collect();
    launch(
        &files::CLIP,
        "sum_squares",
        Grid { blocks: [PARTS, arrays.len(), 1], threads: THREADS },
        &[Write(&parts), Many(&list), Read(&counts)],
    )?;
    let parts = parts.to_vec2::<f32>()?;
    let norm = |parts: Vec<f32>| parts.into_iter().map(f64::from).sum::<f64>().sqrt();
    Ok(parts.into_iter().map(norm).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{AdamW, Averages, Clip, Group, Optimizer, Step};
    use crate::gate::noise;
    use crate::{Array, Gradients, Parameter};

    /// Values of two parameters, one of more than a block's elements, of the teacher of one and of what it
    /// follows after three clipped steps, with the norms of the last.
    fn outcome() -> (Vec<Vec<f32>>, Vec<f64>) {
        let make = |name: &str, shape: &[usize]| Parameter::trainable(name, noise(shape));
        let parameters = [make("b", &[5]), make("w", &[67, 129])];
        let teacher = Parameter::trainable("t", noise(&[67, 129]));
        let group = Group::new(parameters.to_vec(), 0.01, 0.1);
        let mut optimizer = AdamW::new(vec![group]).unwrap();
        let mut norms = Vec::new();
        for step in 1..4 {
            let mut gradients = Gradients::default();
            for parameter in &parameters {
                let value: Array = (noise(parameter.value().dims()) * f64::from(step)).unwrap();
                gradients.insert(parameter, value);
            }
            let clip = Clip::per_tensor(&gradients, &parameters, 3.0).unwrap();
            norms = clip.norms.iter().flatten().copied().collect();
            let pairs = vec![(teacher.clone(), parameters[1].clone())];
            let averages = Averages { momentum: 0.9, pairs };
            optimizer.update(&Step { gradients: &gradients, clip, averages }).unwrap();
        }
        let values = |parameter: &Arc<Parameter>| {
            parameter.value().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let mut found: Vec<_> = parameters.iter().map(values).collect();
        found.push(values(&teacher));
        for (name, state) in optimizer.state().unwrap() {
            if !name.ends_with("step") {
                found.push(state.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            }
        }
        (found, norms)
    }

    #[test]
    fn kernels_agree_with_the_processors() {
        let (expected, norms_expected) = outcome();
        let (found, norms) = crate::cuda::emulated::scope(outcome);
        assert_eq!(found.len(), 7);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-5 * expected.abs().max(1e-2),
                    "{found}, {expected}"
                );
            }
        }
        assert!(norms_expected[1] > 3.0 && norms_expected.len() == 2);
        for (found, expected) in norms.iter().zip(&norms_expected) {
            assert!((found - expected).abs() <= 1e-5 * expected, "{found}, {expected}");
        }
    }
}
