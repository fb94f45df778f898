//! A run's folder: what lies where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::checkpoint::replace_file;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::plugin::UsedPlugin;

/// Paths of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

/// What made a run: versions, plugins, device, data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of the host.
    pub hssl: String,
    /// Plugins that were used, with their hashes.
    pub plugins: Vec<UsedPlugin>,
    /// Device.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
    /// Description and fingerprint of the training images.
    pub data: (String, String),
    /// Parameters that are trained.
    pub trainable_parameters: usize,
    /// Seconds since 1970 at the start.
    pub started: u64,
}

impl RunFolder {
    /// A run's folder, whether it exists or not.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// A folder for a new run: `out`, or a name made of the components and the time.
    pub fn for_new(config: &RunConfig, out: Option<&Path>) -> Self {
        if let Some(out) = out.or(config.out.as_deref()) {
            return Self::at(out);
        }
        let heads: Vec<&str> = config.heads.values().map(|head| head.plugin.as_str()).collect();
        let heads = if heads.is_empty() { "plain".to_owned() } else { heads.join("-") };
        let name = format!(
            "{}-{}-{heads}-{}",
            config.objective.plugin,
            config.backbone.plugin,
            seconds_since_1970()
        );
        Self(Path::new("runs").join(name))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Versions, plugins, device, data.
    pub fn record(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// One JSON object per logged step.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// Evaluation results.
    pub fn results(&self) -> PathBuf {
        self.0.join("results.json")
    }

    /// The latest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.0.join("checkpoints").join("last")
    }

    /// The checkpoint that is kept of an epoch (counted from 1: epochs that are done).
    pub fn epoch(&self, done: usize) -> PathBuf {
        self.0.join("checkpoints").join(format!("epoch-{done:04}"))
    }

    /// The teacher's base model, heads stripped, under its field's names.
    pub fn backbone(&self) -> PathBuf {
        self.0.join("backbone.safetensors")
    }

    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// There is a run already, or the folder cannot be made.
    pub fn create(&self) -> Result<()> {
        if self.config().exists() {
            return Err(Error::content(
                &self.0,
                "there is a run here already; add --resume to continue it, or choose another folder \
                 with --out",
            ));
        }
        fs::create_dir_all(&self.0).map_err(|e| Error::file(&self.0, "cannot be made", e))
    }

    /// Removes the export, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove_backbone(&self) -> Result<()> {
        match fs::remove_file(self.backbone()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file(self.backbone(), "cannot be removed", error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the resolved configuration.
    pub fn write_config(&self, text: &str) -> Result<()> {
        replace_file(&self.config(), text.as_bytes())
    }

    /// Writes the record.
    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).map_err(hssl_plugin_api::Error::from)?;
        replace_file(&self.record(), &text)
    }
}

/// The time, for names and records; nothing that is computed depends on it.
pub fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
