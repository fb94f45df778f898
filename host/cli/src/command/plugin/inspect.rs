//! `hssl plugin inspect`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_engine::plugin;

use crate::session::Session;
use crate::style;
use crate::table::grouped;

/// Show what a plugin file says of itself, and whether this host would load it
///
/// No code of the plugin runs: the file is read, not loaded. The exit code is 1 if it would be
/// refused.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl plugin inspect libhssl_plugin_vit.so
  hssl plugin inspect libhssl_plugin_vit.so --sections")]
pub struct Inspect {
    /// The shared library
    file: PathBuf,
    /// List its sections too
    #[arg(long)]
    sections: bool,
}

impl Inspect {
    pub fn run(self, _: &Session) -> Result<ExitCode> {
        let found = plugin::inspect(&self.file)?;
        let line = |name: &str, value: &str| anstream::println!("{name:<11} {value}");
        line("file", &found.path.display().to_string());
        line("size", &format!("{} bytes", grouped(found.size as usize)));
        line("sha256", &found.sha256);
        line("machine", found.machine.as_deref().unwrap_or("not a shared library"));
        if let Some(descriptor) = &found.descriptor {
            line("plugin", &format!("{} {}", descriptor.name, descriptor.version));
            let (major, minor) = descriptor.interface;
            line("interface", &format!("{major}.{minor}"));
            line("sdk", &descriptor.sdk);
            line("rustc", &descriptor.rustc);
            line("target", &descriptor.target);
            line("panic", &descriptor.panic);
            for (kind, name) in &descriptor.components {
                line("component", &format!("{kind} {name}"));
            }
        }
        if self.sections {
            for section in &found.sections {
                let size = grouped(section.bytes as usize);
                line("section", &format!("{:<24} {size:>12} bytes", section.name));
            }
        }
        let (good, error) = (style::GOOD, style::ERROR);
        match found.verdict {
            Ok(()) => {
                anstream::println!("{:<11} {good}would be loaded{good:#}", "verdict");
                Ok(ExitCode::SUCCESS)
            }
            Err(reason) => {
                anstream::println!("{:<11} {error}refused{error:#}: {reason}", "verdict");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
