//! Signs of collapse, and what to try.

use std::collections::BTreeMap;

use crate::evaluate::Spread;

/// A teacher whose mean assignment has less entropy than this share of log K uses few prototypes.
const LOW_MEAN_ENTROPY: f64 = 0.2;
/// Single assignments with more entropy than this share of log K say nothing about the image.
const HIGH_ENTROPY: f64 = 0.98;
/// Below this share of an even spread, features are nearly the same for all images.
const LOW_SPREAD: f64 = 0.1;

/// Warnings about the teacher's outputs: metrics named `teacher_entropy.BRANCH` and
/// `mean_entropy.BRANCH`, in nats, of `outputs` prototypes.
pub fn outputs(metrics: &BTreeMap<String, f64>, outputs: usize) -> Vec<String> {
    let most = (outputs.max(2) as f64).ln();
    let mut warnings = Vec::new();
    for (name, value) in metrics {
        if let Some(branch) = name.strip_prefix("mean_entropy.")
            && *value < LOW_MEAN_ENTROPY * most
        {
            warnings.push(format!(
                "the teacher's {branch} branch assigns nearly all images to the same prototypes (entropy \
                 of the mean {value:.2}, even would be {most:.2}): a collapse; try a larger batch, a \
                 lower objective.center_momentum or train.lr, or a higher objective.teacher_temp"
            ));
        }
        if let Some(branch) = name.strip_prefix("teacher_entropy.")
            && *value > HIGH_ENTROPY * most
        {
            warnings.push(format!(
                "the teacher's {branch} branch assigns every image evenly to all prototypes (entropy \
                 {value:.2} of {most:.2}): a collapse; try a lower objective.teacher_temp or a longer \
                 train.freeze_last_layer"
            ));
        }
    }
    warnings
}

/// Warnings about the base model's features.
pub fn features(spread: &Spread) -> Option<String> {
    (spread.std < LOW_SPREAD).then(|| {
        format!(
            "the base model's features are nearly the same for all images (spread {:.3}, even would be \
             1; rank {:.1}): a collapse; try a lower train.lr, a longer train.warmup_epochs or stronger \
             views",
            spread.std, spread.rank
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_outputs_give_no_warning() {
        let metrics = BTreeMap::from([
            ("mean_entropy.aux".to_owned(), 5.0),
            ("teacher_entropy.aux".to_owned(), 2.0),
        ]);
        assert!(outputs(&metrics, 1024).is_empty());
        assert!(features(&Spread { std: 0.9, rank: 30.0 }).is_none());
    }

    #[test]
    fn both_kinds_of_collapse_are_told_apart() {
        let one = BTreeMap::from([("mean_entropy.aux".to_owned(), 0.1)]);
        assert!(outputs(&one, 1024)[0].contains("same prototypes"));
        let even = BTreeMap::from([("teacher_entropy.base".to_owned(), 6.93)]);
        assert!(outputs(&even, 1024)[0].contains("teacher_temp"));
        assert!(features(&Spread { std: 0.01, rank: 1.0 }).is_some());
    }
}
