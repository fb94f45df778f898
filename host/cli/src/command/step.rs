//! `hssl step`

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use hssl_datasets::{Batch, Loader, LoaderOptions, Roots, open};
use hssl_engine::checkpoint::read_tensors;
use hssl_engine::component::StepInfo;
use hssl_engine::config::RunConfig;
use hssl_engine::device::{self, Device};
use hssl_engine::train::{Learner, Schedules, batches, dump};

use crate::options::Sets;
use crate::session::{Session, use_threads};

/// Do one training step and write everything that goes in and comes out
///
/// The file holds `input.global` [G, B, 3, H, W], `input.local`, `student.*`, `teacher.*` and `state.*`
/// before the step, `drawn.*` (masks and what else the objective draws at random), `loss.total` and its
/// terms, `grad.*` before clipping, and `updated.*` after it. --load takes inputs, random draws and
/// parameters from such a file, so that another framework can set them; a file that brings inputs makes the configured images unnecessary, and its step
/// has local crops only if it brings those too.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl step configs/quick.toml --dump step.safetensors
  hssl step configs/quick.toml --load theirs.safetensors --dump ours.safetensors")]
pub struct Step {
    /// Configuration file, or the folder of a run
    config: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Take inputs, random draws and parameters from such a file, as far as it has them
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    dump: PathBuf,
    /// The optimizer step that schedules, temperatures and the batch are of, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    at: usize,
}

impl Step {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(Some(&self.config))?;
        let resolved = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        use_threads(resolved.config.train.threads);
        let config = &resolved.config;
        let device = device::select(&config.train.device)?;
        let given = match &self.load {
            Some(file) => read_tensors(file, &device)?,
            None => HashMap::new(),
        };
        let (mut views, steps_per_epoch) = if given.contains_key("input.global") {
            let mut views = batches::synthetic(config, &device)?;
            // Noise keeps the place of what is loaded below, and is no input itself.
            if !given.contains_key("input.local") {
                views.local = None;
            }
            (views, 1)
        } else {
            let (batch, steps) = self.batch(config, &session.roots(Some(&resolved)), &device)?;
            (batches::views(batch, &device)?, steps)
        };
        drop(given);
        let mut learner = Learner::build(config, &plugins, &device)?;
        if let Some(file) = &self.load {
            dump::load(file, &learner, &mut views)?;
        }
        let info = StepInfo {
            epoch: self.at / steps_per_epoch,
            epochs: config.train.epochs,
            step: self.at,
            steps_per_epoch,
            log: true,
        };
        let rates = Schedules::new(config, steps_per_epoch).at(self.at);
        let loss = dump::step(&mut learner, &views, &info, rates, &self.dump)?;
        anstream::println!(
            "{}  loss {loss:.6}, lr {:.3e}, weight decay {:.3e}, teacher momentum {:.6}",
            self.dump.display(),
            rates.lr,
            rates.weight_decay,
            rates.momentum_teacher
        );
        Ok(ExitCode::SUCCESS)
    }

    /// The first batch of the step, and how many steps an epoch has.
    fn batch(&self, config: &RunConfig, roots: &Roots, device: &Device) -> Result<(Batch, usize)> {
        let images = open(&config.data.train, roots)?;
        let (batch_size, batches) = (config.train.batch_size, config.train.accum_iter);
        let steps = (images.len() / (batch_size * batches).max(1)).max(1);
        let epoch = (self.at / steps) as u64;
        let options = LoaderOptions {
            start_batch: self.at % steps * batches,
            ..batches::options(config, epoch, device)
        };
        let views = std::sync::Arc::new(config.views.clone());
        let mut loader = Loader::start(images, views, options)?;
        Ok((loader.next().context("the data set gives no batch")??, steps))
    }
}
