//! `hssl config show`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hssl_engine::config::Origin;
use serde_json::Value;

use crate::options::Sets;
use crate::session::Session;
use crate::style;

/// Show every value of a resolved configuration and where it came from
///
/// From lowest to highest: defaults, the objective's recipe, the files that the file extends, the
/// file, HSSL_SECTION__KEY variables, --set.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl config show configs/quick.toml
  hssl config show configs/quick.toml train heads.aux --set heads.aux.depth=1
  HSSL_TRAIN__LR=1e-3 hssl config show configs/quick.toml train.lr
  hssl config show configs/quick.toml --toml > complete.toml")]
pub struct Show {
    /// Configuration file, or the folder of a run
    config: PathBuf,
    /// Only these keys and sections
    keys: Vec<String>,
    #[command(flatten)]
    sets: Sets,
    /// As TOML, without origins
    #[arg(long, conflicts_with = "keys")]
    toml: bool,
}

impl Show {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(Some(&self.config))?;
        let resolved = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        if self.toml {
            anstream::print!("{}", resolved.to_toml()?);
            return Ok(ExitCode::SUCCESS);
        }
        let entries = resolved.entries();
        for wanted in &self.keys {
            if !entries.iter().any(|(key, ..)| lies_in(key, wanted)) {
                bail!("the configuration has no key `{wanted}`");
            }
        }
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|(key, ..)| {
                self.keys.is_empty() || self.keys.iter().any(|wanted| lies_in(key, wanted))
            })
            .map(|(key, value, origin)| (key, written(value), origin))
            .collect();
        print(&entries);
        Ok(ExitCode::SUCCESS)
    }
}

fn lies_in(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Values wider than this do not push the origins of the others to the right.
const WIDEST: usize = 40;

fn print(entries: &[(String, String, &Origin)]) {
    let wide = |text: &str| text.chars().count().min(WIDEST);
    let keys = entries.iter().map(|(key, ..)| wide(last(key))).max().unwrap_or(0);
    let values = entries.iter().map(|(_, value, _)| wide(value)).max().unwrap_or(0);
    let (heading, faint, good) = (style::HEADING, style::FAINT, style::GOOD);
    let mut table = None;
    for (key, value, origin) in entries {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        if table != Some(section) {
            if table.is_some() {
                anstream::println!();
            }
            if !section.is_empty() {
                anstream::println!("{heading}[{section}]{heading:#}");
            }
            table = Some(section);
        }
        let origin_style = if origin.is_users() { good } else { faint };
        anstream::println!(
            "{:keys$} = {value:values$}  {origin_style}# {origin}{origin_style:#}",
            last(key)
        );
    }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// A value as TOML writes it, on one line.
fn written(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) => {
            let items: Vec<String> =
                table.iter().map(|(key, value)| format!("{key} = {}", written(value))).collect();
            if items.is_empty() { "{}".into() } else { format!("{{ {} }}", items.join(", ")) }
        }
        other => other.to_string(),
    }
}
