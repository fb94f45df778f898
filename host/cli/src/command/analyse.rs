//! `hssl analyse`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use hssl_engine::analysis::{
    Cost, Costs, HeadReport, Images, SampleSets, costs, heads_of, sets_of,
};
use hssl_engine::component::Split;
use hssl_engine::config::Resolved;
use hssl_engine::evaluate::EvaluationData;
use hssl_engine::events::Observer;
use hssl_engine::plugin::Registry;
use hssl_engine::run::RunFolder;
use serde_json::json;

use crate::options::Sets;
use crate::plot::training;
use crate::progress::{INTERRUPTED, Progress};
use crate::session::{Session, run_folder, use_threads};
use crate::table;

/// Compare the heads of trained runs with their base
///
/// By the teacher, on plain test images: the discrepancy D of their assignments (equation 5), linear CKA
/// and orthogonal Procrustes similarity of their image-level vectors. During training the same is logged
/// with each online evaluation. With --baseline also, by nearest neighbours: N_s, how many images a head
/// answers that the baseline's base does not, and sIoU, the share of them among what the base learned
/// (equations 3 and 4). With --cost also what each head costs: time and multiply-adds of base and head for
/// a batch of global crops, and how many times the base's alone that is.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl analyse runs/a runs/b
  hssl analyse runs/hssl --baseline runs/plain --images 0
  hssl analyse runs/a --images 5000 --json
  hssl analyse runs/a runs/b --cost --plots plots")]
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
    /// Measure the cost of each head
    #[arg(long)]
    cost: bool,
    /// Draw discrepancy and similarities over the training into this folder, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// What was found of a run.
struct Analysed {
    name: String,
    heads: Vec<Row>,
    costs: Option<Costs>,
}

impl Analyse {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let progress = Progress::new(session).listen()?;
        let mut all = Vec::new();
        let mut failures = 0;
        for path in &self.runs {
            match self.one(path, session, &progress) {
                Ok(analysed) => all.push(analysed),
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
        if let Some(folder) = &self.plots {
            self.draw(folder, session)?;
        }
        Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Draws what the runs have logged.
    fn draw(&self, folder: &Path, session: &Session) -> Result<()> {
        let runs = self.runs.iter().filter_map(|path| Some((short(path), run_folder(path)?)));
        let charts = training::charts(&runs.collect::<Vec<_>>());
        if charts.is_empty() {
            bail!(
                "nothing to draw: no run has logged how its heads differ from the base; train with a \
                 head and eval.online_every = 1"
            );
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, chart) in charts {
            let [_, png] = chart.write(folder, name)?;
            session.say(&format!("drew {}", png.display()));
        }
        Ok(())
    }

    fn one(&self, path: &Path, session: &Session, observer: &dyn Observer) -> Result<Analysed> {
        let Some(run) = run_folder(path) else { bail!("is no run's folder") };
        let plugins = session.plugins(Some(path))?;
        let resolved = session.resolve(path, &self.sets.sets, &plugins)?;
        use_threads(resolved.config.train.threads);
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
        let cost = || costs(&resolved.config, &plugins, observer);
        Ok(Analysed {
            name: path.display().to_string(),
            heads: reports.into_iter().map(row).collect(),
            costs: self.cost.then(cost).transpose()?,
        })
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

/// A run's name in charts: its folder's.
fn short(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string())
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

const COST_HEADINGS: [&str; 3] = ["FORWARD MS", "WITH BACKWARD MS", "MEGA MULTIPLY-ADDS"];

/// The cells below them; of a head, with how many times the base's alone that is.
fn cost_cells(cost: &Cost, base: Option<&Cost>) -> [String; 3] {
    let numbers =
        |cost: &Cost| [cost.forward_ms, cost.forward_backward_ms, cost.mega_multiply_adds];
    let base = base.map(numbers);
    let cell = |index: usize| {
        let value = numbers(cost)[index];
        match &base {
            Some(base) => format!("{value:.1} (x{:.2})", value / base[index]),
            None => format!("{value:.1}"),
        }
    };
    [cell(0), cell(1), cell(2)]
}

fn print(all: &[Analysed]) {
    let held_against = all.iter().any(|run| run.heads.iter().any(|row| row.sets.is_some()));
    let sets: &[&str] = if held_against { &["N_S", "sIoU %"] } else { &[] };
    let with_costs = all.iter().any(|run| run.costs.is_some());
    let costs: &[&str] = if with_costs { &COST_HEADINGS } else { &[] };
    let headings = ["RUN", "HEAD"].iter().chain(&HEADINGS).chain(sets).chain(costs);
    let mut rows = table::numbers(headings);
    for Analysed { name, heads, costs } in all {
        if let Some(costs) = costs {
            let blank = vec!["-".to_owned(); HEADINGS.len() + sets.len()];
            let line = [vec![name.clone(), "no head".into()], blank];
            rows.add_row(line.into_iter().flatten().chain(cost_cells(&costs.base, None)));
        }
        for row in heads {
            let mut line = vec![name.clone(), row.report.name.clone()];
            line.extend(cells(&row.report));
            if let Some(sets) = &row.sets {
                line.push(table::grouped(sets.n_s));
                line.push(sets.s_iou.map_or("-".into(), |share| format!("{:.1}", 100.0 * share)));
            } else {
                line.extend(sets.iter().map(|_| "-".to_owned()));
            }
            let cost = costs.as_ref().and_then(|costs| {
                Some(cost_cells(costs.with_head.get(&row.report.name)?, Some(&costs.base)))
            });
            line.extend(cost.into_iter().flatten());
            rows.add_row(line);
        }
    }
    table::print(&rows);
}

fn as_json(all: &[Analysed]) -> serde_json::Value {
    let head = |row: &Row| {
        json!({
            "head": row.report.name,
            "parameters": row.report.parameters,
            "comparison": row.report.comparison,
            "sets": row.sets,
        })
    };
    let run = |Analysed { name, heads, costs }: &Analysed| {
        json!({
            "run": name,
            "heads": heads.iter().map(head).collect::<Vec<_>>(),
            "costs": costs,
        })
    };
    all.iter().map(run).collect()
}
