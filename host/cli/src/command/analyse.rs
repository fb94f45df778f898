//! `hssl analyse`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use hssl_engine::analysis::{HeadReport, Images, SampleSets, heads_of, sets_of};
use hssl_engine::component::Split;
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
/// with each online evaluation. With --baseline also, by nearest neighbours: N_s, how many images a head
/// answers that the baseline's base does not, and sIoU, the share of them among what the base learned
/// (equations 3 and 4).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl analyse runs/a runs/b
  hssl analyse runs/hssl --baseline runs/plain --images 0
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
    /// Run without heads that the base is held against
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
    /// With --baseline: training images among which neighbours are looked for; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    bank: usize,
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

    fn one(&self, path: &Path, session: &Session, observer: &dyn Observer) -> Result<Vec<Row>> {
        let Some(run) = run_folder(path) else { bail!("is no run's folder") };
        let plugins = session.plugins(Some(path))?;
        let resolved = session.resolve(path, &self.sets.sets, &plugins)?;
        use_threads(&resolved);
        let reports = reports(session, &run, &resolved, &plugins, self.images, observer)?;
        if reports.is_empty() {
            bail!("has no auxiliary head: it was trained with hssl.supervision = \"none\"");
        }
        let mut sets = match &self.baseline {
            Some(baseline) => {
                self.sets(baseline, (&run, &resolved), &plugins, session, observer)?
            }
            None => BTreeMap::new(),
        };
        let row = |report: HeadReport| Row { sets: sets.remove(&report.name), report };
        Ok(reports.into_iter().map(row).collect())
    }

    fn sets(
        &self,
        baseline: &Path,
        (run, resolved): (&RunFolder, &Resolved),
        plugins: &Registry,
        session: &Session,
        observer: &dyn Observer,
    ) -> Result<BTreeMap<String, SampleSets>> {
        let Some(plain) = run_folder(baseline) else {
            bail!("--baseline {} is no run's folder", baseline.display())
        };
        let of_plain = session.resolve(baseline, &self.sets.sets, plugins)?;
        let roots = session.roots(Some(resolved));
        Ok(sets_of(
            (&plain, &of_plain.config),
            (run, &resolved.config),
            plugins,
            (&roots, (self.bank, self.images)),
            observer,
        )?)
    }
}

/// A head in the table.
struct Row {
    report: HeadReport,
    sets: Option<SampleSets>,
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
    let images = Images::of(&data, Split::Test);
    Ok(heads_of(run, config, plugins, &images, observer)?)
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

fn print(all: &[(String, Vec<Row>)]) {
    let held_against = all.iter().any(|(_, heads)| heads.iter().any(|row| row.sets.is_some()));
    let sets: &[&str] = if held_against { &["N_S", "sIoU %"] } else { &[] };
    let headings = ["RUN", "HEAD"].iter().chain(&HEADINGS).chain(sets);
    let mut rows = table::numbers(headings);
    for (run, heads) in all {
        for row in heads {
            let mut line = vec![run.clone(), row.report.name.clone()];
            line.extend(cells(&row.report));
            if let Some(sets) = &row.sets {
                line.push(table::grouped(sets.n_s));
                line.push(sets.s_iou.map_or("-".into(), |share| format!("{:.1}", 100.0 * share)));
            }
            rows.add_row(line);
        }
    }
    table::print(&rows);
}

fn as_json(all: &[(String, Vec<Row>)]) -> serde_json::Value {
    let head = |row: &Row| {
        json!({
            "head": row.report.name,
            "parameters": row.report.parameters,
            "comparison": row.report.comparison,
            "sets": row.sets,
        })
    };
    let run = |(run, heads): &(String, Vec<Row>)| json!({ "run": run, "heads": heads.iter().map(head).collect::<Vec<_>>() });
    all.iter().map(run).collect()
}
