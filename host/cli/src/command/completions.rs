//! `hssl completions`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;

/// Print the completion script of a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl completions bash > ~/.local/share/bash-completion/completions/hssl
  hssl completions zsh > ~/.zfunc/_hssl
  hssl completions fish > ~/.config/fish/completions/hssl.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "hssl", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        Ok(ExitCode::SUCCESS)
    }
}
