//! One side's turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{command, target};

/// Runs a side and reads the JSON in its last line.
pub fn measure(side: &mut Command) -> Result<Value> {
    let text = output(side)?;
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("no measurement: {text}"))
}

/// Writes a configuration of benches/ with every default filled in: what both sides read.
pub fn resolved(hssl: &Path, folder: &str, case: &str, sets: &[String]) -> Result<PathBuf> {
    let mut show = command(hssl);
    show.args(["config", "show", "--toml"]).arg(format!("benches/{folder}/{case}.toml"));
    for set in sets {
        show.args(["--set", set]);
    }
    let text = output(&mut show)?;
    let made = target().join("bench").join(folder);
    fs::create_dir_all(&made).with_context(|| format!("cannot make {}", made.display()))?;
    let file = made.join(format!("{case}.toml"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn output(side: &mut Command) -> Result<String> {
    let program = side.get_program().to_string_lossy().into_owned();
    let done = side.stderr(Stdio::inherit()).output();
    let done = done.with_context(|| format!("cannot start {program}"))?;
    if !done.status.success() {
        bail!("{program}: {}", done.status);
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// A number of a measurement.
pub fn number(measurement: &Value, key: &str) -> Result<f64> {
    measurement[key].as_f64().with_context(|| format!("no {key}: {measurement}"))
}
