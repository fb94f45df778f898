//! `hssl bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use hssl_engine::train::bench::bench;

use crate::Global;
use crate::session::{Session, limit_threads};

/// Time training steps.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hssl bench configs/cifar10.toml
  hssl bench configs/cifar10.toml --steps 20 --set train.precision=bf16 --json
  hssl bench configs/cifar10.toml --data

images_per_s counts distinct images, not views. Inputs lie on the device unless --data is given.")]
pub struct Args {
    /// Configuration file.
    config: PathBuf,
    /// Steps that are timed.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// Load and augment the configured images.
    #[arg(long)]
    data: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// Change a value of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Measures.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let session = Session::open(global, args.config.parent())?;
    let chosen = session.choose(&args.config, &args.sets)?;
    let config = &chosen.resolved.config;
    limit_threads(config.train.threads)?;
    let roots = session.roots(&chosen.resolved);
    let source = args.data.then_some(&roots);
    let found = bench(config, &session.registry, (args.steps, args.warmup), source)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        anstream::println!(
            "{:.1} images/s: {:.1} ms a step of {} images (fastest {:.1}, slowest {:.1}), peak {:.0} MiB; \
             {}, {}, {} threads",
            found.images_per_s,
            found.step_ms,
            found.batch_size,
            found.step_ms_min,
            found.step_ms_max,
            found.peak_mb,
            found.device,
            found.precision,
            found.threads,
        );
    }
    Ok(ExitCode::SUCCESS)
}
