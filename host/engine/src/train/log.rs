//! `metrics.jsonl` and TensorBoard events.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::tensorboard::EventFile;
use crate::error::{Error, Result};
use crate::run::RunFolder;

/// The metrics of a run, written as they come.
pub struct MetricLog {
    lines: File,
    events: EventFile,
    path: std::path::PathBuf,
}

impl MetricLog {
    /// Opens the logs of a run that has done `step` optimizer steps: lines of later steps, left by
    /// a run that died after its last checkpoint, are dropped.
    pub fn open(folder: &RunFolder, step: usize) -> Result<Self> {
        let path = folder.metrics();
        if path.exists() {
            keep_until(&path, step)?;
        }
        let lines = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| Error::file(&path, "cannot be opened", e))?;
        Ok(Self { lines, events: EventFile::create(folder.path(), step)?, path })
    }

    /// Writes one line. `step` is the number of optimizer steps that are done.
    pub fn write(
        &mut self,
        step: usize,
        epoch: usize,
        values: &BTreeMap<String, f64>,
    ) -> Result<()> {
        let mut line = serde_json::Map::new();
        line.insert("step".into(), step.into());
        line.insert("epoch".into(), epoch.into());
        for (name, value) in values {
            line.insert(name.clone(), serde_json::json!(value));
        }
        let mut text = serde_json::Value::Object(line).to_string();
        text.push('\n');
        self.lines
            .write_all(text.as_bytes())
            .map_err(|e| Error::file(&self.path, "cannot be written", e))?;
        self.events.scalars(step, values)
    }
}

fn keep_until(path: &Path, step: usize) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::file(path, "cannot be read", e))?;
    let kept: Vec<String> = BufReader::new(file)
        .lines()
        .map_while(|line| line.ok())
        .filter(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            value["step"].as_u64().is_some_and(|at| at as usize <= step)
        })
        .map(|line| line + "\n")
        .collect();
    fs::write(path, kept.concat()).map_err(|e| Error::file(path, "cannot be written", e))
}
