//! `plugins.lock`: which plugin files a configuration was made with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{PluginError, UsedPlugin};

/// Name of the lock file; it lies beside the configuration, and in the folder of each run that was
/// started with it.
pub const LOCK_FILE: &str = "plugins.lock";

const HEADER: &str =
    "# Written by `hssl plugin lock`. `--locked` refuses every other plugin file.\n\n";

/// What happens to a plugin that is not as locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// A warning in the log.
    Warn,
    /// It is refused (`--locked`).
    Refuse,
}

/// One plugin of a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlugin {
    /// Its name.
    pub name: String,
    /// Its version, for the reader; the hash decides.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// The locked plugins, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLock {
    path: PathBuf,
    plugins: Vec<LockedPlugin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    plugin: Vec<LockedPlugin>,
}

impl PluginLock {
    /// A lock of these plugins, to be written to `path`.
    pub fn new(path: impl Into<PathBuf>, mut plugins: Vec<LockedPlugin>) -> Self {
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Self { path: path.into(), plugins }
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// It is missing, malformed, or lists a plugin twice.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        let malformed = |found| PluginError::LockFile { path: path.to_owned(), found };
        let text = std::fs::read_to_string(path)
            .map_err(|source| malformed(format!("the lock cannot be read ({source})")))?;
        let document: Document = toml::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let lock = Self::new(path, document.plugin);
        for pair in lock.plugins.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(malformed(format!("plugin `{}` is listed twice", pair[0].name)));
            }
        }
        Ok(lock)
    }

    /// The lock in a folder, if there is one: in that of a configuration, or in a run's.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn within(folder: &Path) -> Result<Option<Self>, PluginError> {
        let path = folder.join(LOCK_FILE);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }

    /// The same plugins, to be written into a folder.
    pub fn copied_to(&self, folder: &Path) -> Self {
        Self { path: folder.join(LOCK_FILE), plugins: self.plugins.clone() }
    }

    /// Writes the lock: to a temporary name first, so that no half of it is ever seen.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self) -> Result<(), PluginError> {
        let failed = |source| PluginError::io("write", &self.path, source);
        let document = Document { plugin: self.plugins.clone() };
        let text =
            toml::to_string(&document).map_err(|error| failed(std::io::Error::other(error)))?;
        let temporary = self.path.with_extension("lock.part");
        std::fs::write(&temporary, format!("{HEADER}{text}")).map_err(failed)?;
        std::fs::rename(&temporary, &self.path).map_err(failed)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked plugins, by name.
    pub fn plugins(&self) -> &[LockedPlugin] {
        &self.plugins
    }

    /// Whether a plugin file is the locked one.
    pub(super) fn check(&self, plugin: &UsedPlugin, path: &Path) -> Result<(), PluginError> {
        let UsedPlugin { name, version, sha256, .. } = plugin;
        let Some(locked) = self.plugins.iter().find(|locked| locked.name == *name) else {
            let names: Vec<&str> = self.plugins.iter().map(|locked| locked.name.as_str()).collect();
            let listed = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(PluginError::NotLocked {
                path: path.to_owned(),
                plugin: name.clone(),
                version: version.clone(),
                sha256: sha256.clone(),
                lock: self.path.clone(),
                listed,
            });
        };
        if locked.sha256 != *sha256 {
            return Err(PluginError::LockDiffers {
                path: path.to_owned(),
                plugin: name.clone(),
                version: version.clone(),
                sha256: sha256.clone(),
                lock: self.path.clone(),
                locked_version: locked.version.clone(),
                locked_sha256: locked.sha256.clone(),
            });
        }
        Ok(())
    }
}
