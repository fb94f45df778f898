//! What sets a head apart from its base: discrepancy and similarity of their outputs.

mod measures;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hssl_datasets::{Dataset, EvalTransform, Loader, LoaderOptions};
use hssl_plugin_api::component::{End, ProjectedLogits, Role, StepInfo};
use hssl_tensor::{Tensor, ops};
use serde::{Deserialize, Serialize};

pub use measures::{centred, divergence, linear_cka, printed_divergence, procrustes};

use crate::config::RunConfig;
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::{EvaluationData, images_tensor};
use crate::events::Observer;
use crate::plugin::{Registry, import};
use crate::run::RunFolder;
use crate::supervision::{BASE, HEADS};
use crate::train::Learner;

/// How a head's branch differs from the base; over the same plain images, by the teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The discrepancy D of equation (5): KL(base || head) of the assignments, centred as in training.
    /// None where the method gives no probabilities, or the base has no projection.
    pub discrepancy: Option<f64>,
    /// The same without centres.
    pub discrepancy_uncentred: Option<f64>,
    /// Equation (8) as it is printed, with the student's base below.
    pub discrepancy_printed: Option<f64>,
    /// Linear CKA of the image-level vectors.
    pub cka: f64,
    /// Their orthogonal Procrustes similarity.
    pub procrustes: f64,
}

/// The images that branches are compared on.
pub struct Images {
    dataset: Arc<dyn Dataset>,
    transform: EvalTransform,
    batch_size: usize,
    threads: usize,
}

impl Images {
    /// The test images of an evaluation, as it resizes and crops them.
    pub fn of(data: &EvaluationData) -> Self {
        Self {
            dataset: data.test.clone(),
            transform: data.plain.clone(),
            batch_size: data.batch_size,
            threads: data.threads,
        }
    }
}

/// What is known of a run's heads.
pub struct HeadReport {
    /// The branch: a head, or `heads`.
    pub name: String,
    /// Parameters of its blocks and norm.
    pub parameters: usize,
    /// Against the base.
    pub comparison: Comparison,
}

/// The heads of a trained run, the most different first.
///
/// # Errors
/// The run has no checkpoint, its plugins or images cannot be read, or the user stops.
pub fn heads_of(
    run: &RunFolder,
    config: &RunConfig,
    registry: &Registry,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Vec<HeadReport>> {
    let device = device::select(&config.train.device)?;
    let mut learner = Learner::of_run(config, registry, &device, run)?;
    let epochs = config.train.epochs;
    let epoch = epochs.saturating_sub(1);
    let info = StepInfo { epoch, epochs, step: 0, steps_per_epoch: 1, log: false };
    let compared = compare(&mut learner, images, &info, observer)?;
    let parameters = |branch: &str| -> usize {
        let scope = if branch == HEADS { "heads.".to_owned() } else { format!("heads.{branch}.") };
        let own = learner.stores.student.iter().filter(|p| p.name().starts_with(&scope));
        own.map(|parameter| parameter.value().elem_count()).sum()
    };
    let report = |(name, comparison): (String, Comparison)| HeadReport {
        parameters: parameters(&name),
        name,
        comparison,
    };
    let mut reports: Vec<HeadReport> = compared.into_iter().map(report).collect();
    let order = |report: &HeadReport| report.comparison.discrepancy.unwrap_or(f64::NEG_INFINITY);
    reports.sort_by(|a, b| order(b).total_cmp(&order(a)));
    Ok(reports)
}

/// Sums over batches.
#[derive(Default)]
struct Sums {
    images: usize,
    features: BTreeMap<String, Vec<Tensor>>,
    /// Centred, uncentred, printed, each times the images.
    divergences: BTreeMap<String, [f64; 3]>,
}

/// Compares each branch of a head with the base.
///
/// # Errors
/// The images cannot be read, or the user stops.
pub fn compare(
    learner: &mut Learner,
    images: &Images,
    info: &StepInfo,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Comparison>> {
    let ends = learner.edges.iter().flat_map(|edge| [&edge.teacher, &edge.student]);
    let heads: BTreeSet<String> = ends.filter(|branch| *branch != BASE).cloned().collect();
    if heads.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut branches: Vec<String> = heads.iter().cloned().collect();
    branches.push(BASE.to_owned());
    let mut options = LoaderOptions::evaluation(images.batch_size);
    options.threads = images.threads;
    let transform = Arc::new(images.transform.clone());
    let mut sums = Sums::default();
    for batch in Loader::start(images.dataset.clone(), transform, options)? {
        let batch = images_tensor(&mut batch?, learner.device())?;
        sums.images += batch.dims()[0];
        for (branch, features) in learner.teacher_features(&batch, &branches)? {
            sums.features.entry(branch).or_default().push(import(&features.image));
        }
        let teacher = learner.logits(Role::Teacher, &batch, info)?;
        let student = learner.logits(Role::Student, &batch, info)?;
        for head in &heads {
            if let Some(found) = divergences(head, &teacher, &student)? {
                let sum = sums.divergences.entry(head.clone()).or_default();
                for (sum, found) in sum.iter_mut().zip(found) {
                    *sum += found * batch.dims()[0] as f64;
                }
            }
        }
        if observer.cancelled() {
            return Err(Error::Training("stopped by the user".into()));
        }
    }
    let joined = |branch: &str| -> Result<_> {
        let rows = sums.features.get(branch).map(Vec::as_slice).unwrap_or_default();
        centred(&ops::cat(&rows.iter().collect::<Vec<_>>(), 0)?)
    };
    let base = joined(BASE)?;
    let comparison = |head: String| -> Result<(String, Comparison)> {
        let features = joined(&head)?;
        let mean = |index: usize| {
            sums.divergences.get(&head).map(|sums_of| sums_of[index] / sums.images as f64)
        };
        let comparison = Comparison {
            discrepancy: mean(0),
            discrepancy_uncentred: mean(1),
            discrepancy_printed: mean(2),
            cka: linear_cka(&base, &features),
            procrustes: procrustes(&base, &features),
        };
        Ok((head, comparison))
    };
    heads.into_iter().map(comparison).collect()
}

/// Centred, uncentred and printed discrepancy of a head on one batch. Where it has several projections,
/// one that the base has in the same pair.
fn divergences(
    head: &str,
    teacher: &[ProjectedLogits],
    student: &[ProjectedLogits],
) -> Result<Option<[f64; 3]>> {
    let find = |all: &'_ [ProjectedLogits], end: &End| {
        all.iter().find(|projected| projected.end == *end).cloned()
    };
    for of_head in teacher.iter().filter(|projected| projected.end.branch == head) {
        let base = End { branch: BASE.to_owned(), ..of_head.end.clone() };
        let (Some(of_base), Some(of_student)) = (find(teacher, &base), find(student, &base)) else {
            continue;
        };
        let [p, q] = [&of_base, of_head].map(|projected| import(&projected.centred));
        let [p_plain, q_plain] = [&of_base, of_head].map(|projected| import(&projected.plain));
        return Ok(Some([
            divergence(&p, &q)?,
            divergence(&p_plain, &q_plain)?,
            printed_divergence(&p, &q, &import(&of_student.plain))?,
        ]));
    }
    Ok(None)
}
