//! One training step, laid open, so that another framework can be held against it.

use std::collections::HashMap;
use std::path::Path;

use hssl_plugin_api::component::StepInfo;
use hssl_tensor::Array;

use super::{BatchViews, Learner, Rates};
use crate::checkpoint::{prepare_file, read_tensors, write_weights};
use crate::error::{Error, Result};
use crate::parameters::Store;

/// Before the names of random choices.
const DRAWN: &str = "drawn.";

/// Replaces inputs, random choices and parameters by what a file holds of them; other tensors of the file
/// (a former dump's losses and gradients) are left alone.
///
/// # Errors
/// A tensor has another shape than the run's.
pub fn load(path: &Path, learner: &Learner, views: &mut BatchViews) -> Result<()> {
    let tensors = read_tensors(path, learner.device())?;
    for (prefix, store) in learner.stores() {
        for parameter in store.iter() {
            if let Some(value) = tensors.get(&format!("{prefix}{}", parameter.name())) {
                parameter.set(value).map_err(|error| Error::content(path, error.to_string()))?;
            }
        }
    }
    replace(&tensors, "input.global", &mut views.global);
    if let Some(local) = tensors.get("input.local") {
        views.local = Some(local.clone());
    }
    let drawn = tensors.iter().filter_map(|(name, value)| Some((name.strip_prefix(DRAWN)?, value)));
    views.drawn.extend(drawn.map(|(name, value)| (name.to_owned(), value.clone())));
    Ok(())
}

fn replace(tensors: &HashMap<String, Array>, name: &str, slot: &mut Array) {
    if let Some(value) = tensors.get(name) {
        *slot = value.clone();
    }
}

/// Does one step and writes everything that went in and came out: `input.*`, `student.*`, `teacher.*` and
/// `state.*` before it, `drawn.*`, what the objective chose at random, `loss.*`, `grad.*` before clipping, `updated.*` after it.
///
/// # Errors
/// The step fails, or the file cannot be written.
pub fn step(
    learner: &mut Learner,
    views: &BatchViews,
    info: &StepInfo,
    rates: Rates,
    out: &Path,
) -> Result<f64> {
    prepare_file(out)?;
    let mut dump = vec![("input.global".to_owned(), views.global.clone())];
    dump.extend(views.local.clone().map(|local| ("input.local".to_owned(), local)));
    dump.extend(parameters(learner, ""));

    let outcome = learner.forward(views, info, 0)?;
    dump.push(("loss.total".to_owned(), outcome.total.array()));
    for (name, part) in &outcome.parts {
        dump.push((format!("loss.{name}"), part.array()));
    }
    let drawn = outcome.drawn.iter();
    dump.extend(drawn.map(|(name, value)| (format!("{DRAWN}{name}"), value.clone())));
    let gradients = learner.backward(&outcome, 1)?;
    for parameter in learner.stores.student.iter() {
        if let Some(gradient) = gradients.get(parameter) {
            dump.push((format!("grad.{}", parameter.name()), gradient.clone()));
        }
    }
    learner.update(gradients, rates, info)?;
    dump.extend(parameters(learner, "updated."));
    write_weights(out, &dump, None)?;
    Ok(outcome.total.scalar()?)
}

fn parameters(learner: &Learner, lead: &str) -> Vec<(String, Array)> {
    let stores: [(&str, &Store); 3] = learner.stores();
    let named = stores.into_iter().flat_map(|(prefix, store)| {
        store.iter().map(move |p| (format!("{lead}{prefix}{}", p.name()), p.value()))
    });
    named.collect()
}
