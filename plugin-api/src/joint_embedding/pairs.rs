//! Views of an image, two by two.

use std::collections::BTreeMap;

use crate::{Result, Tensor};

/// Two views of the images of a batch, along an edge.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Of a global crop, (B, D).
    pub target: &'a Tensor,
    /// Of another crop, (B, D).
    pub prediction: &'a Tensor,
    /// The target that the prediction's own crop makes, if it is a global one.
    pub own_target: Option<&'a Tensor>,
}

/// What a method makes of a pair.
#[derive(Debug)]
pub struct PairLoss {
    /// The scalar that is minimised.
    pub loss: Tensor,
    /// Scalars worth logging, by name.
    pub metrics: Vec<(&'static str, Tensor)>,
}

/// The means of a loss and of its metrics over the pairs (global crop q, crop v), q != v, of an edge's
/// targets and predictions; none if there is no pair. If the edge is `mirrored`, (v, q) gives what (q, v)
/// does, and only one of them is computed.
pub(super) fn mean_over_pairs(
    targets: &[Tensor],
    predictions: &[Tensor],
    mirrored: bool,
    loss: impl Fn(&Pair<'_>) -> Result<PairLoss>,
) -> Result<Option<(Tensor, BTreeMap<&'static str, Tensor>)>> {
    let mut mean = Mean::default();
    let mut metrics: BTreeMap<&'static str, Mean> = BTreeMap::new();
    for (q, target) in targets.iter().enumerate() {
        for (v, prediction) in predictions.iter().enumerate() {
            if v == q || mirrored && v < q {
                continue;
            }
            let made = loss(&Pair { target, prediction, own_target: targets.get(v) })?;
            let share = if mirrored && v < targets.len() { 2.0 } else { 1.0 };
            mean.add(&made.loss, share)?;
            for (name, value) in made.metrics {
                metrics.entry(name).or_default().add(&value.detach()?, share)?;
            }
        }
    }
    let Some(term) = mean.value()? else { return Ok(None) };
    let value = |(name, mean): (&'static str, Mean)| Ok(mean.value()?.map(|x| (name, x)));
    let metrics = metrics.into_iter().filter_map(|entry| value(entry).transpose());
    Ok(Some((term, metrics.collect::<Result<_>>()?)))
}

/// A weighted mean of scalars.
#[derive(Default)]
struct Mean {
    sum: Option<Tensor>,
    weights: f64,
}

impl Mean {
    fn add(&mut self, value: &Tensor, weight: f64) -> Result<()> {
        let value = value.scale(weight)?;
        self.sum = Some(match &self.sum {
            Some(sum) => sum.add(&value)?,
            None => value,
        });
        self.weights += weight;
        Ok(())
    }

    fn value(&self) -> Result<Option<Tensor>> {
        self.sum.as_ref().map(|sum| sum.scale(1.0 / self.weights)).transpose()
    }
}
