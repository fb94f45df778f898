//! `hssl plugin check`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hssl_engine::component::Kind;
use hssl_engine::config;
use hssl_engine::plugin::{Check as Checked, Outcome, Registry, SearchPath, conformance};

use crate::session::Session;
use crate::style;

/// Try whether a plugin's components keep what the interface promises of them
///
/// Every component is made with its default options and small inputs on the CPU, and asked for all
/// that the host will ask for: shapes, finite gradients, the same result twice, states that load
/// again, clear refusals. This runs the plugin's code. The exit code is 1 if a promise is broken.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl plugin check target/release/libmy_plugin.so
  hssl plugin check libmy_plugin.so --only my_head --set depth=2
  hssl plugin check libhssl_plugin_vit.so --only head:vit")]
pub struct Check {
    /// The shared library
    file: PathBuf,
    /// Components of this name only; KIND:NAME if a backbone and a head share it
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// An option of the components; give --only as well if there are several
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Check {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let options = config::settings(&self.sets)?;
        let found = Registry::discover(&SearchPath::only([&self.file]));
        // Who develops a plugin changes it all the time: without --locked, no lock is looked for.
        let locked = session.global.locked;
        let plugins = if locked { session.held_against_lock(found, None)? } else { found };
        if let Some(refusal) = plugins.refused().first() {
            bail!("{}", refusal.error);
        }
        let offers: Vec<_> = plugins.offers().map(|offer| (offer.kind, offer.name)).collect();
        let chosen: Vec<_> = offers.iter().filter(|(kind, name)| self.wants(kind, name)).collect();
        if chosen.is_empty() {
            let names: Vec<_> =
                offers.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
            let only = self.only.as_deref().unwrap_or_default();
            let path = self.file.display();
            bail!("{path} has no component {only:?}; it has {}", names.join(", "));
        }
        let (mut kept, mut broken) = (0, 0);
        for (word, name) in chosen {
            let Some(kind) = Kind::of_word(word) else {
                bail!("{name:?} is a {word:?}, a kind that this host does not know");
            };
            anstream::println!("{}{word} {name}{:#}", style::HEADING, style::HEADING);
            for check in conformance(&plugins, kind, name, &options)? {
                show(&check);
                match check.outcome {
                    Outcome::Kept => kept += 1,
                    Outcome::Broken(_) => broken += 1,
                    Outcome::NotChecked(_) => {}
                }
            }
        }
        session.say(&format!("{kept} promises kept, {broken} broken"));
        Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn wants(&self, kind: &str, name: &str) -> bool {
        let Some(only) = &self.only else { return true };
        match only.split_once(':') {
            Some((of_kind, named)) => (of_kind, named) == (kind, name),
            None => only == name,
        }
    }
}

fn show(check: &Checked) {
    let promise = &check.promise;
    match &check.outcome {
        Outcome::Kept => anstream::println!("  {0}kept{0:#}    {promise}", style::GOOD),
        Outcome::Broken(how) => {
            anstream::println!("  {0}broken{0:#}  {promise}: {how}", style::ERROR);
        }
        Outcome::NotChecked(reason) => {
            anstream::println!("  {0}skipped {promise}: {reason}{0:#}", style::FAINT);
        }
    }
}
