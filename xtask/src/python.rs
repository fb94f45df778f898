//! The Python that PyTorch lies in.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::workspace::command;

/// The variable that names a Python with PyTorch.
const VARIABLE: &str = "HSSL_PYTHON";

/// An interpreter that has what is asked of it.
pub struct Python(OsString);

impl Python {
    /// The Python that `HSSL_PYTHON` names, or python3.
    ///
    /// # Errors
    /// It lacks one of `packages`.
    pub fn with(packages: &[&str]) -> Result<Self> {
        let python = Self(std::env::var_os(VARIABLE).unwrap_or_else(|| "python3".into()));
        let mut probe = python.command();
        probe.arg("-c").arg(format!("import {}", packages.join(", ")));
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            bail!(
                "{} lacks one of {}. Make an environment that has them and name it in {VARIABLE}:\n  \
                 python3 -m venv .venv && .venv/bin/pip install -r tests/parity/requirements.txt\n  \
                 {VARIABLE}=.venv/bin/python cargo xtask ...",
                python.0.display(),
                packages.join(", ")
            );
        }
        Ok(python)
    }

    /// The interpreter at the workspace's root.
    pub fn command(&self) -> Command {
        command(&self.0)
    }
}
