//! `hssl pretrain`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use hssl_engine::run::RunFolder;
use hssl_engine::train::{Ending, Job, pretrain};

use crate::Global;
use crate::session::{Session, limit_threads};
use crate::watch::Watcher;

/// Exit code of a run that a signal stopped, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Train a composition of backbone, heads and objective.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hssl pretrain configs/quick.toml
  hssl pretrain configs/cifar10.toml --set hssl.supervision=none --set train.seed=1 --out runs/plain-1
  hssl pretrain configs/cifar10.toml --out runs/plain-1 --resume")]
pub struct Args {
    /// Configuration file; or the folder of a run, with --resume.
    config: PathBuf,
    /// Change a value: dotted key and TOML value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Folder of the run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continue the run from its last checkpoint.
    #[arg(long)]
    resume: bool,
}

/// Trains.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let beside = if args.config.is_dir() { Some(args.config.as_path()) } else { args.config.parent() };
    let session = Session::open(global, beside)?;
    let chosen = session.choose(&args.config, &args.sets)?;
    let resolved = &chosen.resolved;
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let folder = match (&chosen.run, &args.out) {
        (Some(run), None) if args.resume => run.clone(),
        (Some(run), None) => bail!(
            "{} is a run; add --resume to continue it, or --out for a new run of its configuration",
            run.path().display()
        ),
        (_, out) => {
            if args.resume && out.is_none() && resolved.config.out.is_none() {
                bail!("--resume: which run? give its folder in place of the configuration, or --out");
            }
            RunFolder::for_new(&resolved.config, out.as_deref())
        }
    };
    limit_threads(resolved.config.train.threads)?;
    let text = resolved.to_toml()?;
    let roots = session.roots(resolved);
    let watcher = Watcher::new(global.quiet)?;
    let job = Job {
        config: &resolved.config,
        text: &text,
        roots: &roots,
        registry: &session.registry,
        folder: folder.clone(),
        resume: args.resume,
    };
    let ending = pretrain(&job, &watcher);
    watcher.finish();
    let shown = folder.path().display();
    match ending? {
        Ending::Finished => {
            anstream::println!("finished: {shown}\nevaluate: hssl eval {shown}");
            Ok(ExitCode::SUCCESS)
        }
        Ending::Interrupted => {
            anstream::println!("stopped and saved: {shown}\nresume: hssl pretrain {shown} --resume");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}
