//! `hssl step`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use hssl_datasets::{Loader, LoaderOptions, open};
use hssl_engine::component::StepInfo;
use hssl_engine::device;
use hssl_engine::train::{Learner, Schedules, batches, dump};

use crate::Global;
use crate::session::{Session, limit_threads};

/// Do one training step and write everything that went in and came out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hssl step configs/quick.toml --dump step.safetensors
  hssl step configs/quick.toml --load step.safetensors --dump again.safetensors

The file holds input.global [G, B, 3, H, W], input.local, mask, student.*, teacher.* and state.* (before
the step), loss.total and its terms, grad.* (before clipping) and updated.* (after the step). --load
takes inputs, masks and parameters from such a file, so that another framework can set them.")]
pub struct Args {
    /// Configuration file.
    config: PathBuf,
    /// Take inputs, masks and parameters from this file.
    #[arg(long)]
    load: Option<PathBuf>,
    /// The file to write.
    #[arg(long)]
    dump: PathBuf,
    /// Which optimizer step it is, for schedules and temperatures.
    #[arg(long, default_value_t = 0)]
    at: usize,
    /// Change a value of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Steps.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let session = Session::open(global, args.config.parent())?;
    let chosen = session.choose(&args.config, &args.sets)?;
    let config = &chosen.resolved.config;
    limit_threads(config.train.threads)?;
    let device = device::select(&config.train.device)?;
    let dataset = open(&config.data.train, &session.roots(&chosen.resolved))?;
    let steps_per_epoch = dataset.len() / config.train.batch_size.max(1);
    if steps_per_epoch == 0 {
        bail!(
            "train.batch_size {} is more than the {} images of {}; lower train.batch_size",
            config.train.batch_size,
            dataset.len(),
            config.data.train
        );
    }
    let epoch = args.at / steps_per_epoch;
    let mut options =
        LoaderOptions::training(config.train.batch_size, config.train.seed, epoch as u64);
    options.start_batch = args.at % steps_per_epoch;
    let transform = std::sync::Arc::new(config.views.clone());
    let Some(batch) = Loader::start(dataset, transform, options)?.next() else {
        bail!("{}: no batch", config.data.train);
    };
    let mut learner = Learner::build(config, &session.registry, &device)?;
    let mut views = batches::views(batch?, &device)?;
    if let Some(path) = &args.load {
        dump::load(path, &learner, &mut views)?;
    }
    let info = StepInfo {
        epoch,
        epochs: config.train.epochs,
        step: args.at,
        steps_per_epoch,
        log: true,
    };
    let rates = Schedules::new(config, steps_per_epoch).at(args.at);
    let loss = dump::step(&mut learner, &views, &info, rates, &args.dump)?;
    anstream::println!(
        "loss {loss:.6}, lr {:.3e}, weight decay {:.3e}, teacher momentum {:.6}: {}",
        rates.lr,
        rates.weight_decay,
        rates.momentum_teacher,
        args.dump.display()
    );
    Ok(ExitCode::SUCCESS)
}
