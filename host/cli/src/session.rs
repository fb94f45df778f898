//! What all commands share: plugins, data roots, configurations by path.

use std::error::Error;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hssl_datasets::Roots;
use hssl_engine::component::Kind;
use hssl_engine::config::{self, Recipes, Resolved};
use hssl_engine::plugin::{
    Enforcement, LOCK_FILE, PLUGIN_PATH_VARIABLE, PluginLock, Registry, SearchPath,
};
use hssl_engine::run::RunFolder;
use serde_json::Value;

use crate::Global;

/// The environment variable that names the folder of known data sets.
pub const DATA_VARIABLE: &str = "HSSL_DATA";

/// Plugins and folders of one invocation.
pub struct Session {
    /// Plugins.
    pub registry: Registry,
    data_root: Option<PathBuf>,
}

/// Schemas and recipes, from the plugins.
struct PluginRecipes<'a>(&'a Registry);

impl Recipes for PluginRecipes<'_> {
    fn recipe(&self, objective: &str) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(self.0.component(Kind::Objective, objective)?.manifest.recipe.clone())
    }

    fn schema(&self, kind: Kind, name: &str) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Ok(self.0.component(kind, name)?.manifest.config.clone())
    }
}

/// A configuration and, if it came from a run, that run.
pub struct Chosen {
    /// The configuration.
    pub resolved: Resolved,
    /// The run it belongs to.
    pub run: Option<RunFolder>,
}

impl Session {
    /// Finds plugins. A `plugins.lock` in `beside` is honoured.
    pub fn open(global: &Global, beside: Option<&Path>) -> Result<Self> {
        let mut registry = Registry::discover(&SearchPath::of_process(global.plugin_dir.clone()));
        let lock = beside.map(|folder| folder.join(LOCK_FILE)).filter(|path| path.exists());
        match lock {
            Some(path) => {
                let enforcement =
                    if global.locked { Enforcement::Strict } else { Enforcement::Listed };
                registry = registry.with_lock(PluginLock::read(&path)?, enforcement);
            }
            None if global.locked => anyhow::bail!(
                "--locked: there is no {LOCK_FILE} beside the configuration; write one with `hssl plugin \
                 lock`"
            ),
            None => {}
        }
        for refused in registry.refused() {
            tracing::debug!("{}: {}", refused.path.display(), refused.reason);
        }
        tracing::debug!("plugin folders: --plugin-dir, {PLUGIN_PATH_VARIABLE}, the installation's");
        let data_root = global.data_root.clone().or_else(|| std::env::var_os(DATA_VARIABLE).map(PathBuf::from));
        Ok(Self { registry, data_root })
    }

    /// Reads a configuration file, or the configuration of a run's folder.
    pub fn choose(&self, path: &Path, sets: &[String]) -> Result<Chosen> {
        let recipes = PluginRecipes(&self.registry);
        if path.is_dir() {
            let run = RunFolder::at(path);
            let file = run.config();
            let text = std::fs::read_to_string(&file).with_context(|| {
                format!("{}: no run here (there is no config.toml)", path.display())
            })?;
            let resolved = config::from_toml(&text, path, sets, &recipes)?;
            return Ok(Chosen { resolved, run: Some(run) });
        }
        Ok(Chosen { resolved: config::load(path, sets, &recipes)?, run: None })
    }

    /// Where data is looked for with a configuration.
    pub fn roots(&self, resolved: &Resolved) -> Roots {
        Roots {
            data_root: self.data_root.clone().or_else(|| resolved.config.data.root.clone()),
            relative_to: resolved.base_dir.clone(),
        }
    }
}

/// Uses as many threads as the configuration says.
pub fn limit_threads(threads: usize) -> Result<()> {
    if threads > 0 {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .context("cannot start the computing threads")?;
    }
    Ok(())
}
