//! `hssl eval`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use hssl_engine::base::{BaseModel, weights_of};
use hssl_engine::checkpoint::replace_file;
use hssl_engine::component::Report;
use hssl_engine::config::ComponentConfig;
use hssl_engine::device;
use hssl_engine::evaluate::{EvaluationData, Evaluator};
use hssl_engine::run::RunFolder;

use crate::Global;
use crate::session::{Chosen, Session, limit_threads};
use crate::table;
use crate::watch::Watcher;

/// Evaluate trained base models.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hssl eval runs/a runs/b
  hssl eval runs/a --evaluator knn --untrained
  hssl eval weights.safetensors --config configs/cifar10.toml
  hssl eval runs/* --suite suite.toml --set eval.evaluators.linear.epochs=20

A suite is a TOML file with a table per evaluation:
  [knn]
  plugin = \"knn\"
  [linear]
  plugin = \"linear\"
  augment = false")]
pub struct Args {
    /// Folders of runs, or weight files (with --config).
    #[arg(required = true, value_name = "RUN-or-WEIGHTS")]
    targets: Vec<PathBuf>,
    /// Configuration for weight files.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Evaluations to run in place of the configuration's.
    #[arg(long, conflicts_with = "evaluators")]
    suite: Option<PathBuf>,
    /// Run only this evaluation of the configuration (or this plugin with its defaults).
    #[arg(long = "evaluator", value_name = "NAME")]
    evaluators: Vec<String>,
    /// Change a value of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Folder for `results.json`; without it, each run's own.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also evaluate the same base without training.
    #[arg(long)]
    untrained: bool,
}

/// Results by target and evaluation.
type Results = Vec<(String, BTreeMap<String, Report>)>;

/// Evaluates.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let session = Session::open(global, args.targets[0].parent())?;
    let watcher = Watcher::new(global.quiet)?;
    let mut results = Results::new();
    let mut failed = 0;
    for (index, target) in args.targets.iter().enumerate() {
        let outcome = Target::open(args, &session, target).and_then(|target| {
            if index == 0 {
                limit_threads(target.chosen.resolved.config.train.threads)?;
            }
            if args.untrained {
                let reports = target.evaluate(args, &session, &watcher, None)?;
                results.push((format!("{} (untrained)", target.name), reports));
            }
            let reports = target.evaluate(args, &session, &watcher, Some(&target.weights))?;
            if let Some(folder) = args.out.as_deref().or(target.chosen.run.as_ref().map(RunFolder::path)) {
                write(folder, &target.name, &reports)?;
            }
            results.push((target.name.clone(), reports));
            Ok(())
        });
        if let Err(error) = outcome {
            // The other targets are evaluated all the same.
            failed += 1;
            watcher.finish();
            anstream::eprintln!("error: {}: {error:#}", target.display());
        }
        if hssl_engine::events::Observer::cancelled(&watcher) {
            break;
        }
    }
    watcher.finish();
    if !results.is_empty() {
        anstream::println!("{}", table::results(&results));
    }
    if failed > 0 {
        bail!("{failed} of {} could not be evaluated", args.targets.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// A base model to evaluate.
struct Target {
    name: String,
    chosen: Chosen,
    weights: PathBuf,
}

impl Target {
    fn open(args: &Args, session: &Session, path: &Path) -> Result<Self> {
        if path.is_dir() {
            let chosen = session.choose(path, &args.sets)?;
            let run = RunFolder::at(path);
            let weights = weights_of(&run)
                .with_context(|| format!("{}: no checkpoint yet", path.display()))?;
            return Ok(Self { name: path.display().to_string(), chosen, weights });
        }
        let Some(config) = &args.config else {
            bail!("{}: a weight file needs --config, which says what model it is", path.display());
        };
        let chosen = session.choose(config, &args.sets)?;
        Ok(Self { name: path.display().to_string(), chosen, weights: path.to_owned() })
    }

    fn evaluate(
        &self,
        args: &Args,
        session: &Session,
        watcher: &Watcher,
        weights: Option<&Path>,
    ) -> Result<BTreeMap<String, Report>> {
        let resolved = &self.chosen.resolved;
        let config = &resolved.config;
        let device = device::select(&config.train.device)?;
        let mut base = BaseModel::build(config, &session.registry, &device, weights)?;
        let data = EvaluationData::open(config, &session.roots(resolved), (0, 0))?;
        let autocast = base.autocast;
        let mut evaluator = Evaluator::new(
            &mut base.network,
            data,
            &session.registry,
            (&device, autocast),
            watcher,
            config.train.seed,
        )?;
        let mut reports = BTreeMap::new();
        for (name, component) in self.evaluations(args)? {
            reports.insert(name, evaluator.run(&component)?);
        }
        Ok(reports)
    }

    /// Which evaluations run.
    fn evaluations(&self, args: &Args) -> Result<BTreeMap<String, ComponentConfig>> {
        if let Some(suite) = &args.suite {
            let text = std::fs::read_to_string(suite)
                .with_context(|| format!("{}: cannot read the suite", suite.display()))?;
            return toml::from_str(&text)
                .with_context(|| format!("{}: not a suite of evaluations", suite.display()));
        }
        let configured = &self.chosen.resolved.config.eval.evaluators;
        if args.evaluators.is_empty() {
            return Ok(configured.clone());
        }
        let chosen = args.evaluators.iter().map(|name| {
            let component = configured.get(name).cloned().unwrap_or_else(|| ComponentConfig {
                plugin: name.clone(),
                options: serde_json::Map::new(),
            });
            (name.clone(), component)
        });
        Ok(chosen.collect())
    }
}

/// Adds reports to a folder's `results.json`; what other evaluations wrote there stays.
fn write(folder: &Path, name: &str, reports: &BTreeMap<String, Report>) -> Result<()> {
    let path = RunFolder::at(folder).results();
    let mut all: BTreeMap<String, BTreeMap<String, Report>> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: not a results file; move it away", path.display()))?,
        Err(_) => BTreeMap::new(),
    };
    all.entry(name.to_owned()).or_default().extend(reports.clone());
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot be made", folder.display()))?;
    Ok(replace_file(&path, &serde_json::to_vec_pretty(&all)?)?)
}
