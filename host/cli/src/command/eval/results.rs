//! `results.json`: what evaluations found, and of what.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use hssl_engine::checkpoint::replace_file;
use hssl_engine::component::Report;
use hssl_engine::config::{ComponentConfig, Resolved};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::target::Target;
use crate::command::data::sha256;

/// One evaluation of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As the user named it.
    pub target: String,
    /// Name of the evaluation.
    pub evaluation: String,
    /// What determines the result beside the weights: evaluator, options, data, transform, and the
    /// backbone that the weights are put into.
    pub setup: Value,
    /// SHA-256 of the weight file; none for a backbone without training.
    pub weights_sha256: Option<String>,
    /// The metric that tables show.
    pub headline: String,
    /// Numbers by name; accuracies in %.
    pub metrics: BTreeMap<String, f64>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Time it took.
    pub seconds: f64,
}

impl Entry {
    /// An evaluation that is still to be done.
    pub fn planned(
        target: &Target,
        name: &str,
        component: &ComponentConfig,
        resolved: &Resolved,
    ) -> Result<Self> {
        let config = &resolved.config;
        // As they were written: 32-bit floats in decimals would not read back the same.
        let views = ["global_crops_size", "mean", "std", "interpolation"]
            .map(|key| (key, resolved.value(&format!("views.{key}"))));
        let setup = serde_json::json!({
            "backbone": config.backbone,
            "views": BTreeMap::from(views),
            "evaluator": component,
            "train": config.data.eval_train.as_ref().unwrap_or(&config.data.train),
            "test": config.data.eval_test,
            "resize": config.eval.resize,
            "crop": config.eval.crop,
            "precision": config.train.precision,
            "seed": config.train.seed,
        });
        Ok(Self {
            target: target.name.clone(),
            evaluation: name.to_owned(),
            setup,
            weights_sha256: target.weights.as_deref().map(sha256).transpose()?,
            headline: String::new(),
            metrics: BTreeMap::new(),
            notes: Vec::new(),
            seconds: 0.0,
        })
    }

    /// Takes what was found.
    pub fn finish(&mut self, report: Report, time: Duration) {
        self.headline = report.headline;
        self.metrics = report.metrics;
        self.notes = report.notes;
        self.seconds = (time.as_secs_f64() * 10.0).round() / 10.0;
    }

    /// Its column in the table.
    pub fn column(&self) -> String {
        match self.headline.strip_prefix(&self.evaluation) {
            Some("") => self.evaluation.clone(),
            _ => format!("{} {}", self.evaluation, self.headline),
        }
    }

    /// The number that tables show.
    pub fn headline_value(&self) -> Option<f64> {
        self.metrics.get(&self.headline).copied()
    }

    fn same_work(&self, other: &Self) -> bool {
        (&self.evaluation, &self.setup, &self.weights_sha256)
            == (&other.evaluation, &other.setup, &other.weights_sha256)
    }
}

/// A results file, or nothing that is written.
pub struct Results {
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

impl Results {
    /// Reads what is there.
    pub fn open(path: Option<PathBuf>) -> Result<Self> {
        let entries = match &path {
            Some(path) if path.exists() => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                serde_json::from_str(&text).with_context(|| {
                    format!("{} is no list of results; move it away", path.display())
                })?
            }
            _ => Vec::new(),
        };
        Ok(Self { path, entries })
    }

    /// The result of the same work, if it is there.
    pub fn find(&self, planned: &Entry) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.same_work(planned))
    }

    /// Adds a result in the place of a former one of the same work, and writes the file.
    pub fn put(&mut self, entry: Entry) -> Result<()> {
        self.entries.retain(|former| !former.same_work(&entry));
        self.entries.push(entry);
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(replace_file(path, &serde_json::to_vec_pretty(&self.entries)?)?)
    }
}
