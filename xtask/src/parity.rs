//! `cargo xtask parity`.

use std::ffi::OsString;

use anyhow::Result;

use crate::python::Python;
use crate::workspace::{self, program, root};

/// Hold the release build against PyTorch, timm and TensorBoard (tests/parity).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs a Python with the packages of tests/parity/requirements.txt: the one that \
                        HSSL_PYTHON names, or python3. HSSL_BIN names another program than this tree's."
)]
pub struct Args {
    /// Arguments of tests/parity/run.py: names of checks, --run FOLDER.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let python = Python::with(&["torch", "timm"])?;
    let hssl = program()?;
    let mut script = python.command();
    script.arg(root().join("tests/parity/run.py")).args(&args.arguments).env("HSSL_BIN", hssl);
    workspace::run(&mut script)
}
