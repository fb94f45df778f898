//! Limits on gradients.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::cuda;
use crate::{Array, DType, Error, Gradients, Parameter, Result, cpu, with_real};

/// Added to a norm before it divides, as in PyTorch.
const EPS: f64 = 1e-6;

/// The Euclidean norm of all elements.
pub(super) fn norm(array: &Array) -> Result<f64> {
    let dims: Vec<usize> = (0..array.rank()).collect();
    let squares = if cpu::is_native(array) {
        with_real!("norm", array.dtype(), T => cpu::sum_terms::<T>(array, &dims, 1.0, |x| x * x))?
    } else {
        crate::ops::array::wide(array)?.sqr()?.sum_all()?
    };
    let squares = squares.reshape(())?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    Ok(squares.sqrt())
}

/// What clipping found and what it leaves of each gradient. The gradients stay as they are: the step
/// that follows multiplies them as it reads them.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// Norms before clipping, in the order of the parameters asked for; `None` without a gradient.
    pub norms: Vec<Option<f64>>,
    factors: HashMap<u64, f64>,
}

impl Clip {
    /// Limits each parameter's gradient on its own: where max_norm / (||g|| + 1e-6) < 1, g is scaled by
    /// it. A `max_norm` of 0 limits nothing.
    ///
    /// # Errors
    /// The device failed.
    pub fn per_tensor(
        gradients: &Gradients,
        parameters: &[Arc<Parameter>],
        max_norm: f64,
    ) -> Result<Self> {
        let norms = norms(gradients, parameters)?;
        let factors = parameters
            .iter()
            .zip(&norms)
            .filter_map(|(parameter, norm)| Some((parameter.id(), factor(max_norm, (*norm)?)?)));
        Ok(Self { factors: factors.collect(), norms })
    }

    /// Limits the norm of all gradients together: where max_norm / (norm + 1e-6) < 1, all are scaled by
    /// it. A `max_norm` of 0 limits nothing.
    ///
    /// # Errors
    /// The device failed.
    pub fn global(
        gradients: &Gradients,
        parameters: &[Arc<Parameter>],
        max_norm: f64,
    ) -> Result<Self> {
        let norms = norms(gradients, parameters)?;
        let norm = norms.iter().flatten().map(|norm| norm * norm).sum::<f64>().sqrt();
        let factors = match factor(max_norm, norm) {
            Some(factor) => parameters.iter().map(|parameter| (parameter.id(), factor)).collect(),
            None => HashMap::new(),
        };
        Ok(Self { norms, factors })
    }

    /// What is left of the gradient of the parameter with this id.
    pub(super) fn factor(&self, id: u64) -> f64 {
        self.factors.get(&id).copied().unwrap_or(1.0)
    }
}

fn norms(gradients: &Gradients, parameters: &[Arc<Parameter>]) -> Result<Vec<Option<f64>>> {
    let found: Vec<_> = parameters.iter().map(|parameter| gradients.get(parameter)).collect();
    if found.iter().flatten().all(|gradient| cuda::takes(gradient)) {
        let arrays: Vec<&Array> = found.iter().copied().flatten().collect();
        let mut norms = cuda::norms(&arrays)?.into_iter();
        return Ok(found.iter().map(|gradient| gradient.and_then(|_| norms.next())).collect());
    }
    parameters
        .par_iter()
        .map(|parameter| gradients.get(parameter).map(norm).transpose())
        .collect::<Result<_, Error>>()
}

/// What brings `norm` down to `max_norm`, if it is larger.
fn factor(max_norm: f64, norm: f64) -> Option<f64> {
    let factor = max_norm / (norm + EPS);
    (max_norm > 0.0 && factor < 1.0).then_some(factor)
}
