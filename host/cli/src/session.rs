//! What commands share: plugins, data folders, configurations, as the global options say.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hssl_datasets::Roots;
use hssl_engine::config::{self, Resolved};
use hssl_engine::plugin::{Enforcement, LOCK_FILE, PluginLock, Registry, SearchPath};
use hssl_engine::run::RunFolder;
use indicatif::MultiProgress;

use crate::options::Global;
use crate::style;

/// The folder of the known data sets.
const DATA_VARIABLE: &str = "HSSL_DATA";

/// A process of the command line.
pub struct Session {
    /// The global options.
    pub global: Global,
    /// The progress bars.
    pub bars: MultiProgress,
}

impl Session {
    /// A process with these options.
    pub fn new(global: Global, bars: MultiProgress) -> Self {
        Self { global, bars }
    }

    /// The plugins, held against the lock beside `config` if there is one.
    pub fn plugins(&self, config: Option<&Path>) -> Result<Registry> {
        let registry = Registry::discover(&SearchPath::of_process(&self.global.plugin_dir));
        let lock = match config {
            Some(config) => PluginLock::beside(config)?,
            None => None,
        };
        let enforcement = if self.global.locked { Enforcement::Refuse } else { Enforcement::Warn };
        match lock {
            Some(lock) => Ok(registry.with_lock(lock, enforcement)),
            None if self.global.locked => {
                let place = config.map(|path| path.with_file_name(LOCK_FILE));
                let place = place.unwrap_or_else(|| PathBuf::from(LOCK_FILE));
                bail!(
                    "--locked: there is no {}; write it with `hssl plugin lock --out {0}`",
                    place.display()
                )
            }
            None => Ok(registry),
        }
    }

    /// Where data is looked for.
    pub fn roots(&self, config: Option<&Resolved>) -> Roots {
        let configured = config.and_then(|resolved| resolved.config.data.root.clone());
        let variable = || std::env::var_os(DATA_VARIABLE).filter(|v| !v.is_empty());
        Roots {
            data_root: self
                .global
                .data_root
                .clone()
                .or(configured)
                .or_else(|| variable().map(PathBuf::from)),
            // Paths of a configuration are absolute once it is resolved.
            relative_to: PathBuf::new(),
        }
    }

    /// Resolves a configuration file, or the stored configuration of a run folder; tells its
    /// warnings.
    pub fn resolve(&self, path: &Path, sets: &[String], plugins: &Registry) -> Result<Resolved> {
        let resolved = match run_folder(path) {
            Some(run) => self.stored(&run, sets, plugins)?,
            None => config::load(path, sets, plugins)?,
        };
        self.warn(&resolved);
        Ok(resolved)
    }

    /// The configuration of a run, as it was started.
    fn stored(&self, run: &RunFolder, sets: &[String], plugins: &Registry) -> Result<Resolved> {
        let path = run.config();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the run's configuration {}", path.display()))?;
        Ok(config::from_toml(&text, run.path(), sets, plugins)?)
    }

    fn warn(&self, resolved: &Resolved) {
        for warning in &resolved.warnings {
            self.warning(&warning.to_string());
        }
    }

    /// Tells a warning.
    pub fn warning(&self, text: &str) {
        if !self.global.quiet {
            let style = style::WARNING;
            self.bars.suspend(|| anstream::eprintln!("{style}warning{style:#}: {text}"));
        }
    }

    /// Tells what was done, unless the user wants it quiet.
    pub fn say(&self, text: &str) {
        if !self.global.quiet {
            self.bars.suspend(|| anstream::eprintln!("{text}"));
        }
    }
}

/// The run whose folder `path` is.
pub fn run_folder(path: &Path) -> Option<RunFolder> {
    let run = RunFolder::at(path);
    (path.is_dir() && run.config().is_file()).then_some(run)
}

/// Computes on as many threads as the configuration says.
pub fn use_threads(resolved: &Resolved) {
    let threads = resolved.config.train.threads;
    if threads > 0 {
        // It can be set once; a second configuration in one process keeps the first one's number.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
}
