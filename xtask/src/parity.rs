//! `cargo xtask parity`.

use std::ffi::OsString;
use std::process::Stdio;

use anyhow::{Result, bail};

use crate::workspace::{self, build_release, command, hssl, root};

/// The variable that names a Python with torch and timm.
const PYTHON: &str = "HSSL_PYTHON";

/// Hold the release build against PyTorch, timm and TensorBoard (tests/parity).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs a Python with the packages of tests/parity/requirements.txt: the one that \
                        HSSL_PYTHON names, or python3."
)]
pub struct Args {
    /// Arguments of tests/parity/run.py: names of checks, --run FOLDER.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let mut probe = command(&python);
    probe.args(["-c", "import torch, timm"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        bail!(
            "{} has no torch and timm. Make an environment that has them and name it in {PYTHON}:\n  \
             python3 -m venv .venv && .venv/bin/pip install -r tests/parity/requirements.txt\n  \
             {PYTHON}=.venv/bin/python cargo xtask parity",
            python.display()
        );
    }
    build_release()?;
    let mut script = command(&python);
    script.arg(root().join("tests/parity/run.py")).args(&args.arguments).env("HSSL_BIN", hssl());
    workspace::run(&mut script)
}
