//! Limits on gradients.

use std::sync::Arc;

use rayon::prelude::*;

use crate::ops::array::scaled;
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

/// Limits each parameter's gradient on its own: where max_norm / (||g|| + 1e-6) < 1, g is scaled by
/// it. A `max_norm` of 0 limits nothing. Returns the norms before, in the order of `parameters`
/// (`None` where there is no gradient).
///
/// # Errors
/// The device failed.
pub fn clip_per_tensor(
    gradients: &mut Gradients,
    parameters: &[Arc<Parameter>],
    max_norm: f64,
) -> Result<Vec<Option<f64>>> {
    let norms = norms(gradients, parameters)?;
    for (parameter, norm) in parameters.iter().zip(&norms) {
        if let Some(norm) = norm {
            limit(gradients, parameter, max_norm, *norm)?;
        }
    }
    Ok(norms)
}

/// Limits the norm of all gradients together: where max_norm / (norm + 1e-6) < 1, all are scaled by
/// it. A `max_norm` of 0 limits nothing. Returns the norm before.
///
/// # Errors
/// The device failed.
pub fn clip_global(
    gradients: &mut Gradients,
    parameters: &[Arc<Parameter>],
    max_norm: f64,
) -> Result<f64> {
    let squares = norms(gradients, parameters)?.into_iter().flatten().map(|norm| norm * norm);
    let norm = squares.sum::<f64>().sqrt();
    for parameter in parameters {
        limit(gradients, parameter, max_norm, norm)?;
    }
    Ok(norm)
}

fn norms(gradients: &Gradients, parameters: &[Arc<Parameter>]) -> Result<Vec<Option<f64>>> {
    parameters
        .par_iter()
        .map(|parameter| gradients.get(parameter).map(norm).transpose())
        .collect::<Result<_, Error>>()
}

/// Scales the gradient of `parameter` so that `norm` becomes `max_norm`, if it is larger.
fn limit(gradients: &mut Gradients, parameter: &Parameter, max_norm: f64, norm: f64) -> Result<()> {
    let factor = max_norm / (norm + EPS);
    if max_norm > 0.0
        && factor < 1.0
        && let Some(gradient) = gradients.remove(parameter)
    {
        gradients.insert(parameter, scaled(&gradient, factor, 0.0)?);
    }
    Ok(())
}
