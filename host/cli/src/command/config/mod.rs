//! `hssl config`

mod check;
mod schema;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::session::Session;

/// Show and check configurations
#[derive(Debug, Subcommand)]
pub enum Config {
    Show(show::Show),
    Check(check::Check),
    Schema(schema::Schema),
}

impl Config {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::Show(command) => command.run(session),
            Self::Check(command) => command.run(session),
            Self::Schema(command) => command.run(session),
        }
    }
}
