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

    /// The plugins, held against the lock of `config` if there is one.
    pub fn plugins(&self, config: Option<&Path>) -> Result<Registry> {
        let found = Registry::discover(&SearchPath::of_process(&self.global.plugin_dir));
        self.held_against_lock(found, config)
    }

    /// Holds plugins against the lock of `config` if there is one.
    pub fn held_against_lock(&self, found: Registry, config: Option<&Path>) -> Result<Registry> {
        let enforcement = if self.global.locked { Enforcement::Refuse } else { Enforcement::Warn };
        Ok(match self.lock(config)? {
            Some(lock) => found.with_lock(lock, enforcement),
            None => found,
        })
    }

    /// The lock of a configuration file or a run's folder, or of a command that reads neither.
    ///
    /// # Errors
    /// It cannot be read, or there is none and `--locked` asks for one.
    pub fn lock(&self, config: Option<&Path>) -> Result<Option<PluginLock>> {
        let folders = lock_folders(config);
        for folder in &folders {
            if let Some(lock) = PluginLock::within(folder)? {
                return Ok(Some(lock));
            }
        }
        if self.global.locked {
            let place = |folder: &&Path| folder.join(LOCK_FILE).display().to_string();
            let places: Vec<String> = folders.iter().map(place).collect();
            bail!(
                "--locked: there is no {}; write it with `hssl plugin lock --out {}`",
                places.join(" and no "),
                places[0]
            )
        }
        Ok(None)
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

    /// Tells a failure, then what caused it, unless the failure says so already.
    pub fn error(&self, error: &anyhow::Error) {
        let style = style::ERROR;
        let mut said = error.to_string();
        self.bars.suspend(|| {
            anstream::eprintln!("{style}error{style:#}: {said}");
            for cause in error.chain().skip(1) {
                let text = cause.to_string();
                if !said.contains(&text) {
                    anstream::eprintln!("  caused by: {text}");
                    said = text;
                }
            }
        });
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

/// The folders in which the lock of `config` may lie; the first that has one says which.
fn lock_folders(config: Option<&Path>) -> Vec<&Path> {
    let here = Path::new("");
    match config {
        None => vec![here],
        // A run has a copy of the lock that it was started with, if there was one.
        Some(run) if run_folder(run).is_some() => vec![run, here],
        Some(file) => vec![file.parent().unwrap_or(here)],
    }
}

/// The run whose folder `path` is.
pub fn run_folder(path: &Path) -> Option<RunFolder> {
    let run = RunFolder::at(path);
    (path.is_dir() && run.config().is_file()).then_some(run)
}

/// Computes on so many threads, or on one for each core for 0; the calling thread is one of them.
///
/// A caller outside of the pool would sleep and wake twice for each loop that the pool runs. A pool of
/// one thread keeps it apart, so that another thread's loop never waits for the caller.
pub fn use_threads(threads: usize) {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads > 0 { threads } else { cores() };
    let mut pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    if threads > 1 {
        pool = pool.use_current_thread();
    }
    // It can be set once; a second configuration in one process keeps the first one's number.
    let _ = pool.build_global();
}
