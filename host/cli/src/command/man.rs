//! `hssl man`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use super::Arguments;

/// Print the manual page, or write the pages of all commands
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl man | man -l -
  hssl man --out ~/.local/share/man/man1")]
pub struct Man {
    /// Folder to write one page for each command to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> Result<ExitCode> {
        let command = Arguments::command();
        match self.out {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                clap_mangen::generate_to(command, &folder)
                    .with_context(|| format!("cannot write to {}", folder.display()))?;
            }
            None => clap_mangen::Man::new(command).render(&mut std::io::stdout())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
