//! `hssl bench`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use hssl_engine::bench::{
    Loading, Measurement, OperationTime, Part, Plan, bench_loading, bench_operation, bench_steps,
    read_cases,
};
use hssl_engine::config::Precision;
use hssl_engine::device;
use serde::Serialize;

use crate::options::Sets;
use crate::session::{Session, use_threads};
use crate::table;

/// Time whole training steps, loading alone, or single operations
///
/// Images per second are distinct images, not views. Inputs lie on the device unless --data.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl bench configs/quick.toml
  hssl bench configs/quick.toml --steps 50 --warmup 10 --data --json
  hssl bench configs/quick.toml --profile
  hssl bench configs/cifar10.toml --loading --steps 200
  hssl bench --ops benches/ops.toml --only GEMM")]
pub struct Bench {
    /// Configuration file, or the folder of a run
    #[arg(required_unless_present = "ops")]
    config: Option<PathBuf>,
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
    /// Only load and augment, without a step
    #[arg(long, conflicts_with_all = ["data", "profile"])]
    loading: bool,
    /// Show where the time goes, by operation (on CUDA this waits for each of them)
    #[arg(long)]
    profile: bool,
    /// Time the operations that a file lists, forward and with their gradients
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "sets", "loading", "data", "profile"])]
    ops: Option<PathBuf>,
    /// Only operations whose name has this in it
    #[arg(long, value_name = "TEXT", requires = "ops")]
    only: Option<String>,
    /// Only this precision of the operations: f32 or bf16
    #[arg(long, value_name = "P", requires = "ops", value_parser = precision)]
    precision: Option<Precision>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("expected f32 or bf16".into()),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number, at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// At least this long is each operation timed, each way.
const TIME: Duration = Duration::from_millis(400);

impl Bench {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        match (&self.ops, &self.config) {
            (Some(file), _) => self.operations(file)?,
            (None, Some(config)) => self.configuration(session, config)?,
            (None, None) => unreachable!("one of both is required"),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn configuration(&self, session: &Session, config: &Path) -> Result<()> {
        let plugins = session.plugins(Some(config))?;
        let resolved = session.resolve(config, &self.sets.sets, &plugins)?;
        use_threads(resolved.config.train.threads);
        let roots = session.roots(Some(&resolved));
        let plan = Plan { steps: self.steps, warmup: self.warmup, profile: self.profile };
        if self.loading {
            let found = bench_loading(&resolved.config, &roots, plan)?;
            return self.print(&found, show_loading);
        }
        let roots = self.data.then_some(&roots);
        let found = bench_steps(&resolved.config, &plugins, plan, roots)?;
        self.print(&found, show_steps)
    }

    fn operations(&self, file: &Path) -> Result<()> {
        let all = read_cases(file)?;
        let asked = |name: &str| self.only.as_ref().is_none_or(|only| name.contains(only));
        let cases: Vec<_> = all.iter().filter(|case| asked(&case.name)).collect();
        if cases.is_empty() {
            let names: Vec<_> = all.iter().map(|case| case.name.as_str()).collect();
            let only = self.only.as_deref().unwrap_or_default();
            bail!(
                "no operation of {} has {only:?} in its name; there are {names:?}",
                file.display()
            );
        }
        use_threads(0);
        let device = device::select("auto")?;
        let mut times = Vec::new();
        for case in cases {
            for precision in [Precision::F32, Precision::Bf16] {
                if self.precision.is_none_or(|only| only == precision) {
                    times.extend(bench_operation(case, &device, precision, TIME)?);
                }
            }
        }
        self.print(&times, |times| show_operations(times))
    }

    fn print<T: Serialize>(&self, found: &T, show: impl Fn(&T)) -> Result<()> {
        if self.json {
            anstream::println!("{}", serde_json::to_string(found)?);
        } else {
            show(found);
        }
        Ok(())
    }
}

fn show_steps(found: &Measurement) {
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
}

fn show_loading(found: &Loading) {
    let Loading { images_per_s, views, threads, batch_size, .. } = found;
    anstream::println!("{images_per_s:.1} images/s, {views} views of each");
    let (half, whole) = (found.peak_mb_half, found.peak_mb);
    anstream::println!("peak     {whole:.0} MiB ({half:.0} after half of the batches)");
    anstream::println!("device   {threads} threads, batches of {batch_size}");
}

fn show_operations(times: &[OperationTime]) {
    let mut rows = table::numbers(["OPERATION", "pass", "precision", "ms", "shortest", "calls"]);
    for time in times {
        rows.add_row([
            time.name.clone(),
            time.pass.into(),
            time.precision.into(),
            format!("{:.3}", time.ms),
            format!("{:.3}", time.ms_min),
            time.calls.to_string(),
        ]);
    }
    table::print(&rows);
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
