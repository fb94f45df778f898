//! `hssl plugin new`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use hssl_engine::component::Kind;
use hssl_engine::plugin::scaffold;

use crate::session::Session;

/// Start a plugin: a Cargo project that builds and works as it is
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl plugin new my_head --kind head
  hssl plugin new tiny_vit --kind backbone --in ~/plugins --api ../hssl/plugin-api")]
pub struct New {
    /// Its name: lower-case letters, digits and underscores
    name: String,
    /// What it holds
    #[arg(long, value_enum)]
    kind: Word,
    /// The folder to make the project's folder in
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// The source of hssl-plugin-api; without it, the one of the source tree that hssl or this
    /// folder lies in
    #[arg(long, value_name = "FOLDER")]
    api: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// A base model
    Backbone,
    /// An auxiliary head
    Head,
    /// A self-supervised learning method
    Objective,
    /// A downstream evaluation
    Evaluator,
}

impl New {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let kind = match self.kind {
            Word::Backbone => Kind::Backbone,
            Word::Head => Kind::Head,
            Word::Objective => Kind::Objective,
            Word::Evaluator => Kind::Evaluator,
        };
        let project = scaffold(&self.folder, &self.name, kind, self.api.as_deref())?;
        anstream::println!("{}", project.display());
        let library = format!(
            "target/release/{}{}{}",
            std::env::consts::DLL_PREFIX,
            self.name,
            std::env::consts::DLL_SUFFIX
        );
        session.say(&format!(
            "next: cd {} && cargo build --release && hssl plugin check {library}",
            project.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}
