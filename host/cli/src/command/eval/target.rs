//! What is evaluated: weights, and the configuration they belong to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hssl_engine::base::weights_of;
use hssl_engine::checkpoint::TENSORS;
use hssl_engine::config::{self, Base, Resolved, Sources};
use hssl_engine::plugin::Registry;
use hssl_engine::run::RunFolder;

use super::shown;
use crate::session::{Session, run_folder};

/// Weights and their configuration.
pub struct Target {
    /// As the user named it.
    pub name: String,
    /// The weight file; none for a backbone as it is initialised.
    pub weights: Option<PathBuf>,
    /// The configuration: of the run, or the one that was named.
    pub config: PathBuf,
    /// The run it belongs to.
    run: Option<RunFolder>,
}

impl Target {
    /// Finds weights and configuration of a path.
    pub fn find(path: &Path, config: Option<&Path>) -> Result<Self> {
        let name = shown(path);
        let weights = if let Some(run) = run_folder(path) {
            weights_of(&run).with_context(|| {
                format!("{name} has no weights yet; it is written after the first epoch")
            })?
        } else if path.join(TENSORS).is_file() {
            path.join(TENSORS)
        } else if path.is_file() {
            path.to_owned()
        } else if path.exists() {
            bail!("{name} is neither the folder of a run nor of a checkpoint");
        } else {
            bail!("{name} does not exist");
        };
        let path = path.canonicalize().with_context(|| format!("cannot read {name}"))?;
        let run = path.ancestors().find_map(run_folder);
        let config = match (config, &run) {
            (Some(config), _) => config.to_owned(),
            (None, Some(run)) => run.config(),
            (None, None) => {
                bail!("{name} lies in no run; name its configuration with --config FILE")
            }
        };
        Ok(Self { name, weights: Some(weights), config, run })
    }

    /// The same backbone without training.
    pub fn untrained(&self) -> Self {
        Self {
            name: format!("{} (untrained)", self.name),
            weights: None,
            config: self.config.clone(),
            run: self.run.clone(),
        }
    }

    /// The configuration, with a suite and `--set` on top.
    pub fn resolve(
        &self,
        suite: Option<&Path>,
        sets: &[String],
        plugins: &Registry,
        session: &Session,
    ) -> Result<Resolved> {
        let stored = match self.own_run() {
            Some(run) => Some((std::fs::read_to_string(&self.config)?, run.path())),
            None => None,
        };
        let base = match &stored {
            Some((text, folder)) => Base::Stored { text, folder },
            None => Base::File(&self.config),
        };
        let resolved = config::resolve(&Sources { base, suite, sets }, plugins)?;
        for warning in &resolved.warnings {
            session.warning(&warning.to_string());
        }
        Ok(resolved)
    }

    /// Whose lock its plugins are held against: the run's, or the named configuration's.
    pub fn locked_by(&self) -> &Path {
        self.own_run().map_or(self.config.as_path(), RunFolder::path)
    }

    /// The run, if the configuration is its own.
    fn own_run(&self) -> Option<&RunFolder> {
        self.run.as_ref().filter(|run| run.config() == self.config)
    }

    /// Where its results are written; nowhere for weights in no run without `--out`.
    pub fn results(&self, out: Option<&Path>) -> Option<PathBuf> {
        match out {
            Some(out) => Some(RunFolder::at(out).results()),
            None => self.run.as_ref().map(RunFolder::results),
        }
    }
}
