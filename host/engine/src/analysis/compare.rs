//! Discrepancy and similarity of heads and base.

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{End, ProjectedLogits, Role, StepInfo};
use hssl_tensor::{Tensor, ops};
use serde::{Deserialize, Serialize};

use super::images::Images;
use super::measures::{centred, divergence, linear_cka, printed_divergence, procrustes};
use crate::error::Result;
use crate::events::Observer;
use crate::plugin::import;
use crate::supervision::{BASE, layer_index};
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
    let heads = head_branches(learner);
    if heads.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut branches: Vec<String> = heads.iter().cloned().collect();
    branches.push(BASE.to_owned());
    let mut sums = Sums::default();
    let device = learner.device().clone();
    images.each(&device, observer, |batch, _| {
        sums.images += batch.dims()[0];
        for (branch, features) in learner.teacher_features(batch, &branches)? {
            sums.features.entry(branch).or_default().push(import(&features.image));
        }
        let teacher = learner.logits(Role::Teacher, batch, info)?;
        let student = learner.logits(Role::Student, batch, info)?;
        for head in &heads {
            if let Some(found) = divergences(head, &teacher, &student)? {
                let sum = sums.divergences.entry(head.clone()).or_default();
                for (sum, found) in sum.iter_mut().zip(found) {
                    *sum += found * batch.dims()[0] as f64;
                }
            }
        }
        Ok(())
    })?;
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
    // A head of a fixed grid takes no images of another size than the global crops.
    let taken = heads.into_iter().filter(|head| sums.features.contains_key(head));
    taken.map(comparison).collect()
}

/// The branches of heads that the supervision graph names.
pub(super) fn head_branches(learner: &Learner) -> BTreeSet<String> {
    let ends = learner.edges.iter().flat_map(|edge| [&edge.teacher, &edge.student]);
    let of_base = |branch: &str| branch == BASE || layer_index(branch).is_some();
    ends.filter(|branch| !of_base(branch)).cloned().collect()
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
