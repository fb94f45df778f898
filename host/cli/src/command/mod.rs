//! One file for each command.

mod analyse;
mod bench;
mod completions;
mod config;
mod data;
mod embed;
mod eval;
mod man;
mod plugin;
mod pretrain;
mod search;
mod step;
mod study;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::options::Global;
use crate::session::Session;

/// Heterogeneous self-supervised learning of vision models
///
/// Composes a backbone, auxiliary heads and an objective from plugins, trains them without labels,
/// drops the heads, and evaluates the backbone.
#[derive(Debug, Parser)]
#[command(name = "hssl", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:
  hssl pretrain configs/quick.toml --out runs/quick
  hssl eval runs/quick --evaluator knn
  hssl config show configs/quick.toml --set train.lr=1e-3

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C or SIGTERM.
HSSL_LOG=hssl_engine=debug chooses what is logged.")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How.
    #[command(flatten)]
    pub global: Global,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Pretrain(pretrain::Pretrain),
    Eval(eval::Eval),
    Embed(embed::Embed),
    Step(step::Step),
    Bench(bench::Bench),
    Study(study::Study),
    Search(search::Search),
    Analyse(analyse::Analyse),
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Data(data::Data),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// In words for the user.
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match self {
            Self::Pretrain(command) => command.run(session),
            Self::Eval(command) => command.run(session),
            Self::Embed(command) => command.run(session),
            Self::Step(command) => command.run(session),
            Self::Bench(command) => command.run(session),
            Self::Study(command) => command.run(session),
            Self::Search(command) => command.run(session),
            Self::Analyse(command) => command.run(session),
            Self::Plugin(command) => command.run(session),
            Self::Config(command) => command.run(session),
            Self::Data(command) => command.run(session),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    /// Every command that does something shows how it is used.
    #[test]
    fn every_command_has_examples() {
        fn leaves(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|inner| leaves(inner, &path, without));
            } else if !command.get_after_help().is_some_and(|h| h.to_string().contains("  hssl ")) {
                without.push(path);
            }
        }
        let mut without = Vec::new();
        leaves(&Arguments::command(), "", &mut without);
        assert!(without.is_empty(), "no example in the help of {without:?}");
    }
}
