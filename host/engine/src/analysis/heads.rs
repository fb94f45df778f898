//! The heads of a trained run.

use hssl_plugin_api::component::StepInfo;

use super::compare::{Comparison, compare};
use super::images::Images;
use crate::config::RunConfig;
use crate::device;
use crate::error::Result;
use crate::events::Observer;
use crate::plugin::Registry;
use crate::run::RunFolder;
use crate::supervision::HEADS;
use crate::train::Learner;

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
