//! `hssl config check`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_datasets::{Loader, LoaderOptions};
use hssl_engine::config::{self, Resolved};
use hssl_engine::plugin::Registry;

use crate::options::Sets;
use crate::session::Session;
use crate::style;

/// Check configurations and tell every problem
///
/// Unknown keys, wrong types, options of plugins, and values that cannot work together; nothing is
/// trained. The exit code is 1 if any of the files has an error.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl config check configs/quick.toml
  hssl config check configs/*.toml configs/imagenet/*.toml
  hssl config check configs/cifar10.toml --data --data-root ~/data")]
pub struct Check {
    /// Configuration files, or folders of runs
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
    /// Open the data sets too: their place, their splits, and enough images for a batch
    #[arg(long)]
    data: bool,
}

impl Check {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let mut good = true;
        for path in &self.configs {
            good &= self.check(path, session)?;
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn check(&self, path: &Path, session: &Session) -> Result<bool> {
        let plugins = session.plugins(Some(path))?;
        let (error, fine) = (style::ERROR, style::GOOD);
        let outcome = self.resolve(path, session, &plugins);
        match &outcome {
            Ok(_) => anstream::println!("{}: {fine}ok{fine:#}", path.display()),
            Err(problem) => {
                anstream::println!("{}: {error}error{error:#}: {problem:#}", path.display());
            }
        }
        Ok(outcome.is_ok())
    }

    fn resolve(&self, path: &Path, session: &Session, plugins: &Registry) -> Result<()> {
        let resolved = session.resolve(path, &self.sets.sets, plugins)?;
        if self.data { open_data(&resolved, session) } else { Ok(()) }
    }
}

/// Opens every set of the configuration and starts an epoch on the first.
fn open_data(resolved: &Resolved, session: &Session) -> Result<()> {
    let config::DataConfig { train, eval_train, eval_test, .. } = &resolved.config.data;
    let roots = session.roots(Some(resolved));
    let images = hssl_datasets::open(train, &roots)?;
    for spec in [eval_train, eval_test].into_iter().flatten() {
        hssl_datasets::open(spec, &roots)?;
    }
    let train = &resolved.config.train;
    let options = LoaderOptions::training(train.batch_size * train.accum_iter, train.seed, 0);
    let views = std::sync::Arc::new(resolved.config.views.clone());
    Loader::start(images, views, options)?;
    Ok(())
}
