//! `hssl bench`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hssl_engine::train::bench::{Part, Plan, bench};

use crate::options::Sets;
use crate::session::{Session, use_threads};
use crate::table;

/// Time whole training steps
///
/// Images per second are distinct images, not views. Inputs lie on the device unless --data.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl bench configs/quick.toml
  hssl bench configs/quick.toml --steps 50 --warmup 10 --data --json
  hssl bench configs/quick.toml --profile")]
pub struct Bench {
    /// Configuration file, or the folder of a run
    config: PathBuf,
    #[command(flatten)]
    sets: Sets,
    /// Steps that are timed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive)]
    steps: usize,
    /// Steps before them
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: usize,
    /// Load and augment the configured images instead of resident ones
    #[arg(long)]
    data: bool,
    /// Show where the time goes, by operation (on CUDA this waits for each of them)
    #[arg(long)]
    profile: bool,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number, at least 1".into()),
        Ok(number) => Ok(number),
    }
}

impl Bench {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let plugins = session.plugins(Some(&self.config))?;
        let resolved = session.resolve(&self.config, &self.sets.sets, &plugins)?;
        use_threads(&resolved);
        let roots = session.roots(Some(&resolved));
        let plan = Plan { steps: self.steps, warmup: self.warmup, profile: self.profile };
        let found = bench(&resolved.config, &plugins, plan, self.data.then_some(&roots))?;
        if self.json {
            anstream::println!("{}", serde_json::to_string(&found)?);
            return Ok(ExitCode::SUCCESS);
        }
        anstream::println!("{:.1} images/s", found.images_per_s);
        anstream::println!(
            "step     {:.1} ms (median; {:.1} to {:.1})",
            found.step_ms,
            found.step_ms_min,
            found.step_ms_max
        );
        anstream::println!("peak     {:.0} MiB", found.peak_mb);
        anstream::println!(
            "device   {}, {}, {} threads, batch of {}",
            found.device,
            found.precision,
            found.threads,
            found.batch_size
        );
        if !found.profile.is_empty() {
            anstream::println!();
            show(&found.profile);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(profile: &[Part]) {
    let whole: f64 = profile.iter().map(Part::ms).sum();
    let mut rows = table::numbers(["OPERATION", "calls", "forward ms", "backward ms", "share"]);
    for part in profile {
        rows.add_row([
            part.name.clone(),
            format!("{:.0}", part.calls),
            format!("{:.2}", part.forward_ms),
            format!("{:.2}", part.backward_ms),
            format!("{:.1} %", 100.0 * part.ms() / whole),
        ]);
    }
    table::print(&rows);
}
