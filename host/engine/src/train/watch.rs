//! Signs of collapse, and what to try.

use std::collections::BTreeMap;

use crate::evaluate::Spread;

/// A teacher whose mean assignment has less entropy than this share of log K uses few prototypes.
const LOW_MEAN_ENTROPY: f64 = 0.2;
/// Single assignments with more entropy than this share of log K say nothing about the image.
const HIGH_ENTROPY: f64 = 0.98;
/// Below this share of an even spread, features are nearly the same for all images.
const LOW_SPREAD: f64 = 0.1;

/// Begins the name of what an objective reports of itself, so that TensorBoard shows it in one panel.
pub const PANEL: &str = "diagnostics/";

/// Warnings, by metric, about what the objective reports under names that objectives have in common:
/// `teacher_entropy.END` and `mean_entropy.END`, shares of log K, `std.END` and `target_std.END`.
pub fn diagnostics(metrics: &BTreeMap<String, f64>) -> Vec<(String, String)> {
    metrics
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), warning(name, *value)?)))
        .collect()
}

fn warning(name: &str, value: f64) -> Option<String> {
    let (what, end) = name.strip_prefix(PANEL)?.split_once('.')?;
    let (level, what, temperature) = match what.strip_prefix("patch_") {
        Some(what) => ("patches", what, "teacher_patch_temp"),
        None => ("images", what, "teacher_temp"),
    };
    Some(match what {
        "mean_entropy" if value < LOW_MEAN_ENTROPY => format!(
            "the teacher's {end} branch assigns nearly all {level} to the same prototypes (entropy of the \
             mean {value:.2}, even would be 1): a collapse; try a larger batch, a lower \
             objective.center_momentum or train.lr, or a higher objective.{temperature}"
        ),
        "teacher_entropy" if value > HIGH_ENTROPY => format!(
            "the teacher's {end} branch assigns all {level} evenly to all prototypes (entropy {value:.2} \
             of 1): a collapse; try a lower objective.{temperature} or a longer train.freeze_last_layer"
        ),
        "std" if value < LOW_SPREAD => format!(
            "the student's embeddings of {end} are nearly the same for all images (spread {value:.3}, \
             even would be 1): a collapse; try a lower train.lr, a longer train.warmup_epochs, a larger \
             batch or stronger views"
        ),
        "target_std" if value < LOW_SPREAD => format!(
            "the targets that {end} makes are nearly the same for all images (spread {value:.3}, even \
             would be 1), so that there is nothing to learn from them: try a lower train.lr, a higher \
             train.momentum_teacher or another supervision graph"
        ),
        _ => return None,
    })
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

    fn reported(name: &str, value: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([(format!("{PANEL}{name}"), value)])
    }

    #[test]
    fn healthy_outputs_give_no_warning() {
        for (name, value) in [
            ("mean_entropy.aux", 0.7),
            ("teacher_entropy.aux", 0.3),
            ("std.base", 0.8),
            ("target_std.aux", 0.4),
            ("agreement.aux->base", 0.0),
        ] {
            assert!(diagnostics(&reported(name, value)).is_empty(), "{name}");
        }
        assert!(features(&Spread { std: 0.9, rank: 30.0 }).is_none());
    }

    #[test]
    fn kinds_of_collapse_are_told_apart() {
        for (name, value, says) in [
            ("mean_entropy.aux", 0.02, "nearly all images to the same prototypes"),
            ("patch_mean_entropy.base", 0.02, "higher objective.teacher_patch_temp"),
            ("teacher_entropy.base", 0.999, "lower objective.teacher_temp"),
            ("std.base", 0.02, "embeddings of base are nearly the same"),
            ("target_std.aux", 0.02, "the targets that aux makes"),
        ] {
            let warnings = diagnostics(&reported(name, value));
            assert_eq!(warnings.len(), 1, "{name}");
            assert!(warnings[0].1.contains(says), "{name}: {}", warnings[0].1);
        }
        assert!(features(&Spread { std: 0.01, rank: 1.0 }).is_some());
    }
}
