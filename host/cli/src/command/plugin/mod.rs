//! `hssl plugin`

mod inspect;
mod list;
mod lock;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::session::Session;

/// Look at plugins
#[derive(Debug, Subcommand)]
pub enum Plugin {
    List(list::List),
    Inspect(inspect::Inspect),
    Lock(lock::Lock),
}

impl Plugin {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::List(command) => command.run(session),
            Self::Inspect(command) => command.run(session),
            Self::Lock(command) => command.run(session),
        }
    }
}
