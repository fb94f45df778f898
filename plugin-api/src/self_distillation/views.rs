//! The loss between the views of an image.

use std::collections::{BTreeMap, BTreeSet};

use crate::component::{EncodedBranches, End, Level};
use crate::self_distillation::{Projections, Prototypes};
use crate::{Error, Result, Tensor};

/// A student projection's logits of all crops.
#[derive(Clone, Debug)]
pub struct CropLogits {
    /// (G, B, K).
    pub global: Tensor,
    /// (L, B, K); none if there are no local crops, or the branch's head does not take them.
    pub local: Option<Tensor>,
}

impl CropLogits {
    /// Of the ends whose branches were encoded, from crop-major encodings of G global crops and, if
    /// there are any, of L local ones.
    pub fn of(
        projections: &Projections,
        prototypes: &Prototypes,
        ends: &BTreeSet<End>,
        global: (&EncodedBranches, usize),
        local: Option<(&EncodedBranches, usize)>,
    ) -> Result<BTreeMap<End, Self>> {
        let logits = |(encoded, crops): (&EncodedBranches, usize)| {
            let mut logits = BTreeMap::new();
            for end in ends {
                let Some(features) = encoded.find(&end.branch) else { continue };
                let rows = projections.forward(Level::Image, end, &features.image, prototypes)?;
                let (n, outputs) = rows.dims2()?;
                logits.insert(end, rows.reshape((crops, n / crops.max(1), outputs))?);
            }
            Ok::<_, Error>(logits)
        };
        let global = logits(global)?;
        let mut local = local.map(logits).transpose()?.unwrap_or_default();
        let of_end = |(end, global): (&End, Tensor)| {
            (end.clone(), Self { global, local: local.remove(end) })
        };
        Ok(global.into_iter().map(of_end).collect())
    }
}

/// The branches that have to be encoded for some projections.
pub fn branches_of<'e>(ends: impl IntoIterator<Item = &'e End>) -> Vec<&'e str> {
    let branches: BTreeSet<&str> = ends.into_iter().map(|end| end.branch.as_str()).collect();
    branches.into_iter().collect()
}

/// Mean over the pairs (teacher crop q, student crop v), q != v, of the batch's mean cross-entropy.
/// `targets` (G, B, K) are probabilities, `temperature` is the student's.
///
/// Cross-entropy is linear in its target, so the crops q that a student crop v is compared with
/// enter as their mean: one term per v instead of one per pair.
pub fn cross_view_loss(
    targets: &Tensor,
    predictions: &CropLogits,
    temperature: f64,
) -> Result<Tensor> {
    let crops = targets.dim(0)?;
    let locals = predictions.local.as_ref().map_or(0, |local| local.dims()[0]);
    let pairs = crops * (crops + locals - 1);
    let cross_entropy = |logits: &Tensor, target: &Tensor| {
        logits.soft_cross_entropy(target, temperature)?.mean_all()
    };
    let all = targets.sum(&[0], true)?;
    let mut total: Option<Tensor> = None;
    if crops > 1 {
        let others = all.sub(targets)?.scale(1.0 / (crops - 1) as f64)?;
        let loss = cross_entropy(&predictions.global, &others)?;
        total = Some(loss.scale((crops * (crops - 1)) as f64 / pairs as f64)?);
    }
    if let Some(local) = &predictions.local {
        // Crop by crop: they share one target (B, K), which is not repeated over them.
        let mean = all.squeeze(0)?.scale(1.0 / crops as f64)?;
        for crop in 0..locals {
            let loss = cross_entropy(&local.index(0, crop)?, &mean)?;
            let loss = loss.scale(crops as f64 / pairs as f64)?;
            total = Some(match total {
                Some(sum) => sum.add(&loss)?,
                None => loss,
            });
        }
    }
    match total {
        Some(total) => Ok(total),
        None => refuse!(
            "one global crop and no local crop make no pair of views; set \
             views.global_crops_number = 2"
        ),
    }
}
