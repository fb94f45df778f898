//! `hssl data`

mod checksum;
mod fetch;
mod info;
mod list;
mod make;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::session::Session;

pub use checksum::sha256;

/// List, make, fetch and describe image sets
#[derive(Debug, Subcommand)]
pub enum Data {
    List(list::List),
    Make(make::Make),
    Fetch(fetch::Fetch),
    Info(info::Info),
}

impl Data {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::List(command) => command.run(session),
            Self::Make(command) => command.run(session),
            Self::Fetch(command) => command.run(session),
            Self::Info(command) => command.run(session),
        }
    }
}

/// The folder of the known sets, or how to name one.
fn data_root(session: &Session) -> Result<std::path::PathBuf> {
    session.roots(None).data_root.ok_or_else(|| {
        anyhow::anyhow!("no folder for data sets is set; name one with --data-root or HSSL_DATA")
    })
}
