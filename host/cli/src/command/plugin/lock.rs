//! `hssl plugin lock`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hssl_engine::plugin::{LOCK_FILE, Registry, SearchPath};

use crate::session::Session;

/// Write plugins.lock: the plugins that are found, with the SHA-256 of their files
///
/// It belongs beside a configuration. From then on a plugin that differs is warned of, and refused
/// with --locked; runs of the configuration get a copy. Files that this host refuses are left out.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl plugin lock --out configs/plugins.lock
  hssl --locked pretrain configs/quick.toml")]
pub struct Lock {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = LOCK_FILE)]
    out: PathBuf,
}

impl Lock {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = Registry::discover(&SearchPath::of_process(&session.global.plugin_dir));
        let lock = plugins.to_lock(&self.out)?;
        for refusal in plugins.refused() {
            session.warning(&format!("left out: {}", refusal.error));
        }
        if lock.plugins().is_empty() {
            bail!("no plugin was found; name their folder with --plugin-dir or HSSL_PLUGIN_PATH");
        }
        lock.write()?;
        anstream::println!("{}  {} plugins", self.out.display(), lock.plugins().len());
        Ok(ExitCode::SUCCESS)
    }
}
