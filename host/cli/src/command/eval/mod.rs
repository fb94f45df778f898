//! `hssl eval`

pub(in crate::command) mod results;
mod target;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use hssl_engine::base::BaseModel;
use hssl_engine::config::{ComponentConfig, Resolved};
use hssl_engine::device;
use hssl_engine::evaluate::{EvaluationData, Evaluator};
use hssl_engine::events::Observer;
use hssl_engine::plugin::Registry;

use crate::options::Sets;
use crate::progress::{INTERRUPTED, Progress};
use crate::session::{Session, use_threads};
use crate::{style, table};
use results::{Entry, Results};
use target::Target;

/// Evaluate trained backbones downstream
///
/// Without --suite and --evaluator, the evaluations that each configuration lists run. A table goes
/// to standard output, everything to results.json in each run's folder. What is there already, for
/// the same weights and options, is not computed again. What fails is told, and the others go on;
/// the exit code is 1 then.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl eval runs/a runs/b
  hssl eval runs/a --evaluator knn --set data.eval_test=cifar10#test
  hssl eval runs/a/checkpoints/epoch-0040 --suite configs/suites/quick.toml
  hssl eval timm.safetensors --config configs/imagenet/dino_vit_small_convnext.toml \\
    --evaluator linear --out results

A suite is a TOML file with a table for each evaluation:
  [knn]
  plugin = \"knn\"
  [linear]
  plugin = \"linear\"
  augment = false")]
pub struct Eval {
    /// Folders of runs or of their checkpoints, or weight files
    #[arg(required = true, value_name = "RUN-or-WEIGHTS")]
    targets: Vec<PathBuf>,
    /// Configuration of weights that lie in no run
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File with a table for each evaluation, in place of the configuration's
    #[arg(long, value_name = "FILE", conflicts_with = "evaluator")]
    suite: Option<PathBuf>,
    /// Only this evaluation: one that the configuration lists, or an evaluator plugin; repeatable
    #[arg(long, value_name = "NAME")]
    evaluator: Vec<String>,
    #[command(flatten)]
    sets: Sets,
    /// Folder for results.json instead of the runs' own
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Evaluate the same backbones without training too
    #[arg(long)]
    untrained: bool,
    /// Compute again what is there already
    #[arg(long)]
    again: bool,
    /// The results as JSON instead of the table
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        // What fails says so at once, and does not keep the others from being evaluated.
        let mut failures = 0;
        let mut targets = Vec::new();
        for path in &self.targets {
            match Target::find(path, self.config.as_deref()) {
                Ok(target) => {
                    targets.extend(self.untrained.then(|| target.untrained()));
                    targets.push(target);
                }
                Err(error) => {
                    failures += 1;
                    session.error(&error);
                }
            }
        }
        let progress = Progress::new(session).listen()?;
        let mut all = Vec::new();
        for target in &targets {
            match self.target(target, session, &progress, &mut all) {
                Ok(failed) => failures += failed,
                Err(error) => {
                    failures += 1;
                    session.error(&error.context(format!("evaluating {}", target.name)));
                }
            }
            if progress.cancelled() {
                break;
            }
        }
        progress.finish();
        if self.json {
            anstream::println!("{}", serde_json::to_string_pretty(&all)?);
        } else if !all.is_empty() {
            print(&all);
        }
        Ok(match (progress.cancelled(), failures) {
            (true, _) => {
                session.say("stopped; run the same command again to go on");
                ExitCode::from(INTERRUPTED)
            }
            (_, 0) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }

    /// Runs what is missing of one target; how many evaluations failed.
    fn target(
        &self,
        target: &Target,
        session: &Session,
        progress: &Progress<'_>,
        all: &mut Vec<Entry>,
    ) -> Result<usize> {
        let plugins = session.plugins(Some(target.locked_by()))?;
        let resolved = target.resolve(self.suite.as_deref(), &self.sets.sets, &plugins, session)?;
        let evaluations = self.evaluations(&resolved, &plugins)?;
        use_threads(resolved.config.train.threads);
        let mut results = Results::open(target.results(self.out.as_deref()))?;
        let mut wanted = Vec::new();
        for (name, component) in &evaluations {
            let entry = Entry::planned(target, name, component, &resolved)?;
            match results.find(&entry) {
                // Under the name by which it is asked for now.
                Some(done) if !self.again => {
                    all.push(Entry { target: entry.target, ..done.clone() });
                }
                _ => wanted.push((entry, component)),
            }
        }
        if wanted.is_empty() {
            return Ok(0);
        }
        let config = &resolved.config;
        let device = device::select(&config.train.device)?;
        let data = EvaluationData::open(config, &session.roots(Some(&resolved)), (0, 0))?;
        let mut base = BaseModel::build(config, &plugins, &device, target.weights.as_deref())?;
        let precision = (&device, base.autocast);
        let seed = config.train.seed;
        let mut evaluator =
            Evaluator::new(&mut base.network, data, &plugins, precision, progress, seed)?;
        let mut failures = 0;
        for (mut entry, component) in wanted {
            let start = Instant::now();
            let report = evaluator.run(component);
            if progress.cancelled() {
                break;
            }
            match report {
                Ok(report) => {
                    entry.finish(report, start.elapsed());
                    results.put(entry.clone())?;
                    all.push(entry);
                }
                // The others may still work.
                Err(error) => {
                    failures += 1;
                    session.error(&anyhow!("{}: {}: {error}", target.name, entry.evaluation));
                }
            }
        }
        Ok(failures)
    }

    fn evaluations(
        &self,
        resolved: &Resolved,
        plugins: &Registry,
    ) -> Result<Vec<(String, ComponentConfig)>> {
        let listed = &resolved.config.eval.evaluators;
        if self.evaluator.is_empty() {
            if listed.is_empty() {
                bail!("no evaluation is listed; name one with --evaluator, or a --suite");
            }
            let listed = listed.iter().map(|(name, one)| (name.clone(), one.clone()));
            return Ok(listed.collect());
        }
        let by_name = |name: &String| match listed.get(name) {
            Some(listed) => Ok((name.clone(), listed.clone())),
            None => {
                let kind = hssl_engine::component::Kind::Evaluator;
                plugins.component(kind, name)?;
                let options = serde_json::Map::new();
                Ok((name.clone(), ComponentConfig { plugin: name.clone(), options }))
            }
        };
        self.evaluator.iter().map(by_name).collect()
    }
}

/// Targets x evaluations.
fn print(entries: &[Entry]) {
    let columns: BTreeSet<String> = entries.iter().map(Entry::column).collect();
    let mut targets: Vec<&str> = Vec::new();
    for entry in entries {
        if !targets.contains(&entry.target.as_str()) {
            targets.push(&entry.target);
        }
    }
    let headings = std::iter::once("RUN".to_owned()).chain(columns.iter().cloned());
    let mut rows = table::numbers(headings);
    for target in targets {
        let cell = |column: &String| {
            let found = entries.iter().find(|e| e.target == target && e.column() == *column);
            let value = found.and_then(Entry::headline_value);
            value.map_or("-".to_owned(), |value| format!("{value:.2}"))
        };
        let cells: Vec<String> =
            std::iter::once(target.to_owned()).chain(columns.iter().map(cell)).collect();
        rows.add_row(cells);
    }
    table::print(&rows);
    for entry in entries {
        for note in &entry.notes {
            let faint = style::FAINT;
            anstream::println!("{faint}{} {}: {note}{faint:#}", entry.target, entry.evaluation);
        }
    }
}

/// A path as it was written, without a slash at its end.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    text.trim_end_matches('/').to_owned()
}
