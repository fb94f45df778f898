//! `hssl config schema`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use hssl_engine::component::{ComponentManifest, Kind};
use hssl_engine::config;

use crate::session::Session;

/// Print the JSON schema of configuration files, for editors
///
/// It has the options of every plugin that is found. Editors with TOML support read it from a first
/// line `#:schema hssl.schema.json` in a configuration.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl config schema > hssl.schema.json
  hssl --plugin-dir ~/plugins config schema --out hssl.schema.json")]
pub struct Schema {
    /// The file to write; without it, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Schema {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(None)?;
        let mut components: Vec<ComponentManifest> = Vec::new();
        for offer in plugins.offers() {
            let Some(kind) = Kind::of_word(offer.kind) else { continue };
            match plugins.component(kind, offer.name) {
                Ok(component) => components.push((*component.manifest).clone()),
                Err(error) => session.warning(&error.to_string()),
            }
        }
        let text = serde_json::to_string_pretty(&config::document(&components))?;
        match self.out {
            Some(path) => std::fs::write(&path, text + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?,
            None => anstream::println!("{text}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
