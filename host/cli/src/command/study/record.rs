//! `study.json`: how each run of a study ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hssl_engine::checkpoint::replace_file;
use serde::{Deserialize, Serialize};

use super::file::Member;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Trained and evaluated.
    Done,
    /// Not, and why.
    Failed(String),
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its choice of each axis.
    pub choices: Vec<String>,
    /// What was set for it.
    pub sets: Vec<String>,
    /// How it ended.
    pub state: State,
    /// Parameters that were trained.
    pub trainable_parameters: Option<usize>,
    /// Seconds of training, as far as this study has seen them.
    pub train_seconds: f64,
    /// Numbers by the heading of their column.
    pub results: BTreeMap<String, f64>,
}

/// The file.
pub struct Records {
    path: PathBuf,
    /// By the run's name.
    pub runs: BTreeMap<String, Record>,
}

impl Records {
    /// Reads what is there of an earlier start of the study.
    ///
    /// # Errors
    /// It cannot be read; a run of that name was started with other settings.
    pub fn open(path: &Path, members: &[Member]) -> Result<Self> {
        let runs: BTreeMap<String, Record> = match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!("{} is no record of a study; move it away", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        for member in members {
            if let Some(former) = runs.get(&member.name)
                && former.sets != member.sets
            {
                bail!(
                    "{}: the run {} was made with {}, and the study now asks for {}; choose another \
                     folder with --out, or remove the run's folder and its entry",
                    path.display(),
                    member.name,
                    former.sets.join(" "),
                    member.sets.join(" ")
                );
            }
        }
        Ok(Self { path: path.to_owned(), runs })
    }

    /// Adds how a run ended, and writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&mut self, name: &str, record: Record) -> Result<()> {
        self.runs.insert(name.to_owned(), record);
        Ok(replace_file(&self.path, &serde_json::to_vec_pretty(&self.runs)?)?)
    }

    /// Whether a run need not be made again.
    pub fn is_done(&self, name: &str) -> bool {
        self.runs.get(name).is_some_and(|record| record.state == State::Done)
    }
}
