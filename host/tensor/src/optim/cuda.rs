//! The CUDA kernels of optimizers, and how they are launched: one for each parameter, none of which waits
//! for the host.

use super::adamw::Factors;
use super::fused::{Job, Moved};
use crate::cuda::Argument::{Float, Read, Write};
use crate::cuda::{self, Argument, Grid, empty, files, launch};
use crate::{Array, DType, Result};

/// Whether the kernels update this value.
pub(super) fn takes(value: &Array) -> bool {
    value.dtype() == DType::F32 && cuda::takes(value)
}

/// The new value, the teacher's, and the new moments.
pub(super) fn adamw(
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
    let float = |number: f64| Float(number as f32);
    launch(
        &files::ADAMW,
        "adamw",
        Grid::pieces(old.elem_count()),
        &[
            Write(&value),
            Write(&new_first),
            Write(&new_second),
            moved.as_ref().map_or(Argument::Null, Write),
            Read(&old),
            Read(&gradient),
            Read(&first.contiguous()?),
            Read(&second.contiguous()?),
            Argument::optional(teacher.as_ref()),
            Argument::count(&old),
            float(job.factor),
            float(factors.keep),
            float(1.0 - factors.beta1),
            float(factors.beta2),
            float(1.0 - factors.beta2),
            float(factors.rate),
            float(factors.correction),
            float(factors.eps),
            float(momentum),
            float(1.0 - momentum),
        ],
    )?;
    Ok((Moved { value, teacher: moved }, [new_first, new_second]))
}

/// Parts in which an array's squares are summed.
const PARTS: usize = 256;

/// The Euclidean norms of some arrays, for which the host waits once.
pub(super) fn norms(arrays: &[&Array]) -> Result<Vec<f64>> {
    let Some(first) = arrays.first() else { return Ok(Vec::new()) };
    let parts = empty((arrays.len(), PARTS), DType::F32, first.device())?;
    for (index, array) in arrays.iter().enumerate() {
        let array = array.to_dtype(DType::F32)?.contiguous()?;
        launch(
            &files::CLIP,
            "sum_squares",
            Grid { blocks: [PARTS, 1, 1], threads: 256 },
            &[Write(&parts.narrow(0, index, 1)?), Read(&array), Argument::count(&array)],
        )?;
    }
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

    /// Values of two parameters, of the teacher of one and of what it follows after three clipped steps,
    /// with the norms of the last.
    fn outcome() -> (Vec<Vec<f32>>, Vec<f64>) {
        let make = |name: &str, shape: &[usize]| Parameter::trainable(name, noise(shape));
        let parameters = [make("w", &[37, 29]), make("b", &[5])];
        let teacher = Parameter::trainable("t", noise(&[37, 29]));
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
            let pairs = vec![(teacher.clone(), parameters[0].clone())];
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
        assert!(norms_expected[0] > 3.0 && norms_expected.len() == 2);
        for (found, expected) in norms.iter().zip(&norms_expected) {
            assert!((found - expected).abs() <= 1e-5 * expected, "{found}, {expected}");
        }
    }
}
