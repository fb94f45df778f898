//! `hssl plugin list`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::session::Session;
use crate::{style, table};

/// List the components of the plugins that are found, and the files that are refused
///
/// No code of a plugin runs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl plugin list
  hssl --plugin-dir ~/plugins plugin list --json")]
pub struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(None)?;
        let mut offers: Vec<_> = plugins.offers().collect();
        offers.sort_by_key(|offer| (offer.kind, offer.name));
        if self.json {
            let components: Vec<_> = offers
                .iter()
                .map(|offer| {
                    serde_json::json!({
                        "kind": offer.kind,
                        "name": offer.name,
                        "plugin": offer.plugin.name,
                        "version": offer.plugin.version,
                        "file": offer.path,
                    })
                })
                .collect();
            let refused: Vec<_> = plugins
                .refused()
                .iter()
                .map(|refusal| {
                    let reason = refusal.error.to_string();
                    serde_json::json!({ "file": refusal.path, "reason": reason })
                })
                .collect();
            let all = serde_json::json!({ "components": components, "refused": refused });
            anstream::println!("{all:#}");
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = table::plain(["KIND", "NAME", "PLUGIN", "VERSION", "FILE"]);
        for offer in &offers {
            rows.add_row([
                offer.kind,
                offer.name,
                &offer.plugin.name,
                &offer.plugin.version,
                &offer.path.display().to_string(),
            ]);
        }
        if offers.is_empty() {
            session.warning(
                "no plugin was found; name their folder with --plugin-dir or HSSL_PLUGIN_PATH",
            );
        } else {
            table::print(&rows);
        }
        let warning = style::WARNING;
        for refusal in plugins.refused() {
            anstream::eprintln!("{warning}refused{warning:#}: {}", refusal.error);
        }
        Ok(ExitCode::SUCCESS)
    }
}
