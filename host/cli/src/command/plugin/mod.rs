//! `hssl plugin`

mod check;
mod inspect;
mod list;
mod lock;
mod new;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::session::Session;

/// Look at plugins, try them, start one
#[derive(Debug, Subcommand)]
pub enum Plugin {
    List(list::List),
    Inspect(inspect::Inspect),
    Lock(lock::Lock),
    Check(check::Check),
    New(new::New),
}

impl Plugin {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::List(command) => command.run(session),
            Self::Inspect(command) => command.run(session),
            Self::Lock(command) => command.run(session),
            Self::Check(command) => command.run(session),
            Self::New(command) => command.run(session),
        }
    }
}
