//! `hssl analyse`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use hssl_engine::analysis::{HeadReport, Images, heads_of};
use hssl_engine::config::Resolved;
use hssl_engine::evaluate::EvaluationData;
use hssl_engine::events::Observer;
use hssl_engine::plugin::Registry;
use hssl_engine::run::RunFolder;
use serde_json::json;

use crate::options::Sets;
use crate::progress::{INTERRUPTED, Progress};
use crate::session::{Session, run_folder, use_threads};
use crate::table;

/// Compare the heads of trained runs with their base
///
/// By the teacher, on plain test images: the discrepancy D of their assignments (equation 5), linear CKA
/// and orthogonal Procrustes similarity of their image-level vectors. During training the same is logged
/// with each online evaluation.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl analyse runs/a runs/b
  hssl analyse runs/a --images 5000 --json")]
pub struct Analyse {
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
    /// Test images that are looked at; 0: all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    images: usize,
    /// JSON instead of the table
    #[arg(long)]
    json: bool,
}

impl Analyse {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let progress = Progress::new(session).listen()?;
        let mut all = Vec::new();
        let mut failures = 0;
        for path in &self.runs {
            match self.one(path, session, &progress) {
                Ok(reports) => all.push((path.display().to_string(), reports)),
                Err(_) if progress.cancelled() => return Ok(ExitCode::from(INTERRUPTED)),
                Err(error) => {
                    failures += 1;
                    session.error(&error.context(format!("analysing {}", path.display())));
                }
            }
        }
        progress.finish();
        if self.json {
            anstream::println!("{}", serde_json::to_string_pretty(&as_json(&all))?);
        } else if !all.is_empty() {
            print(&all);
        }
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn one(
        &self,
        path: &Path,
        session: &Session,
        observer: &dyn Observer,
    ) -> Result<Vec<HeadReport>> {
        let Some(run) = run_folder(path) else { bail!("is no run's folder") };
        let plugins = session.plugins(Some(path))?;
        let resolved = session.resolve(path, &self.sets.sets, &plugins)?;
        use_threads(&resolved);
        let reports = reports(session, &run, &resolved, &plugins, self.images, observer)?;
        if reports.is_empty() {
            bail!("has no auxiliary head: it was trained with hssl.supervision = \"none\"");
        }
        Ok(reports)
    }
}

/// The heads of a run.
pub fn reports(
    session: &Session,
    run: &RunFolder,
    resolved: &Resolved,
    plugins: &Registry,
    images: usize,
    observer: &dyn Observer,
) -> Result<Vec<HeadReport>> {
    let (config, roots) = (&resolved.config, session.roots(Some(resolved)));
    let data = EvaluationData::open(config, &roots, (0, images)).context("the test images")?;
    Ok(heads_of(run, config, plugins, &Images::of(&data), observer)?)
}

/// Headings after the names of run and head.
pub const HEADINGS: [&str; 5] = ["D", "D UNCENTRED", "CKA", "PROCRUSTES", "PARAMETERS"];

/// The cells below them.
pub fn cells(report: &HeadReport) -> [String; 5] {
    let found = &report.comparison;
    let some = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    [
        some(found.discrepancy),
        some(found.discrepancy_uncentred),
        format!("{:.4}", found.cka),
        format!("{:.4}", found.procrustes),
        table::grouped(report.parameters),
    ]
}

fn print(all: &[(String, Vec<HeadReport>)]) {
    let mut rows = table::numbers(["RUN", "HEAD"].into_iter().chain(HEADINGS));
    for (run, reports) in all {
        for report in reports {
            rows.add_row([run.clone(), report.name.clone()].into_iter().chain(cells(report)));
        }
    }
    table::print(&rows);
}

fn as_json(all: &[(String, Vec<HeadReport>)]) -> serde_json::Value {
    let head = |report: &HeadReport| {
        json!({
            "head": report.name,
            "parameters": report.parameters,
            "comparison": report.comparison,
        })
    };
    let run = |(run, reports): &(String, Vec<HeadReport>)| json!({ "run": run, "heads": reports.iter().map(head).collect::<Vec<_>>() });
    all.iter().map(run).collect()
}
