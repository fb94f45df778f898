//! `hssl study`

mod file;
mod gain;
mod process;
mod record;
mod summary;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hssl_engine::checkpoint::replace_file;
use hssl_engine::run::{RunFolder, RunRecord};
use indicatif::{ProgressBar, ProgressStyle};

use crate::command::eval::results::Entry;
use crate::progress::INTERRUPTED;
use crate::session::Session;
use crate::table;
use file::{Member, Plan, StudyFile};
use process::Processes;
use record::{Record, Records, State};
use summary::{Summary, summary};

/// Train and evaluate a grid of compositions
///
/// Every combination of the study's choices is a run in a folder of its own and a process of its own;
/// one that fails is marked, and the others go on. What is done already is not done again: the same
/// command goes on after a stop. table.md in the study's folder is up to date after each run.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  hssl study configs/studies/quick-pairs.toml
  hssl study configs/studies/quick-pairs.toml --dry-run
  hssl study mine.toml --out runs/studies/mine --jobs 2

A study is a TOML file:
  config = \"../quick.toml\"            # what every run starts from
  suite = \"../suites/quick.toml\"      # what each is evaluated by
  set = { train.epochs = 2 }          # for every run
  [[axes]]
  name = \"head\"
  choices = [
      { name = \"none\", set = { heads = {}, hssl.supervision = \"none\" } },
      { name = \"convnext\", set = { heads.aux = { plugin = \"convnext\", depth = 1 } } },
  ]
  [[axes]]                            # the table shows the mean over seeds
  name = \"seed\"
  key = \"train.seed\"
  values = [0, 1, 2]
  [[exclude]]                         # combinations that are left out
  head = \"none\"
  seed = \"2\"
With `extends = \"OTHER.toml\"` a study takes after another one: paths and axes that it has too go first.")]
pub struct Study {
    /// Study file
    study: PathBuf,
    /// Folder of the study; without it, runs/studies/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Runs at a time; they share the processor's threads unless the study sets train.threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Show the runs and what is set for each, and check their configurations
    #[arg(long)]
    dry_run: bool,
}

/// What the workers of a study share.
struct Work<'a> {
    session: &'a Session,
    study: &'a StudyFile,
    plan: &'a Plan,
    folder: &'a Path,
    threads: Option<usize>,
    processes: Processes,
    bar: ProgressBar,
    waiting: Mutex<VecDeque<&'a Member>>,
    running: Mutex<Vec<&'a str>>,
    records: Mutex<Records>,
}

/// Why a run has no result.
enum Ending {
    Failed(String),
    Stopped,
}

impl Study {
    pub fn run(self, session: &Session) -> Result<ExitCode> {
        let study = StudyFile::read(&self.study)?;
        let plan = study.plan().with_context(|| format!("{}", self.study.display()))?;
        if self.dry_run {
            return dry_run(session, &study, &plan);
        }
        let folder = match (&self.out, self.study.file_stem()) {
            (Some(folder), _) => folder.clone(),
            (None, Some(name)) => Path::new("runs/studies").join(name),
            (None, None) => bail!("{} has no name; add --out DIR", self.study.display()),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let records = Records::open(&folder.join("study.json"), &plan.members)?;
        let waiting: VecDeque<&Member> =
            plan.members.iter().filter(|member| !records.is_done(&member.name)).collect();
        let before = plan.members.len() - waiting.len();
        session.say(&format!(
            "study of {} runs, {before} of them done before; folder: {}",
            plan.members.len(),
            folder.display()
        ));
        let jobs = (self.jobs as usize).min(waiting.len().max(1));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let chosen =
            |member: &&Member| member.sets.iter().any(|set| set.starts_with("train.threads="));
        let work = Work {
            session,
            study: &study,
            plan: &plan,
            folder: &folder,
            threads: (jobs > 1 && !waiting.iter().any(chosen)).then(|| (cores / jobs).max(1)),
            processes: Processes::listen()?,
            bar: bar(session, plan.members.len(), before),
            waiting: Mutex::new(waiting),
            running: Mutex::default(),
            records: Mutex::new(records),
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| work.some())).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a worker of the study panicked")))
            };
            workers.into_iter().map(join).collect::<Result<Vec<()>>>()
        })?;
        work.bar.finish_and_clear();
        let records = lock(&work.records);
        print(&summary(&plan, &records.runs));
        for (name, chart) in gain::charts(&plan, &records.runs, &folder) {
            let plots = folder.join("plots");
            fs::create_dir_all(&plots)
                .with_context(|| format!("cannot make {}", plots.display()))?;
            let [_, png] = chart.write(&plots, &name)?;
            session.say(&format!("drew {}", png.display()));
        }
        let undone = plan.members.iter().filter(|member| !records.is_done(&member.name)).count();
        Ok(if work.processes.stopped() {
            session.say("stopped; run the same command again to go on");
            ExitCode::from(INTERRUPTED)
        } else if undone > 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn dry_run(session: &Session, study: &StudyFile, plan: &Plan) -> Result<ExitCode> {
    let plugins = session.plugins(Some(&study.config))?;
    let mut wrong = 0;
    for member in &plan.members {
        anstream::println!("{}  {}", member.name, member.sets.join(" "));
        if let Err(error) = session.resolve(&member.config, &member.sets, &plugins) {
            wrong += 1;
            session.error(&error.context(format!("the run {}", member.name)));
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'a> Work<'a> {
    /// Makes runs as long as there are some.
    fn some(&self) -> Result<()> {
        while !self.processes.stopped() {
            let Some(member) = lock(&self.waiting).pop_front() else { break };
            self.runs(|running| running.push(&member.name));
            let start = Instant::now();
            let outcome = self.one(member);
            self.runs(|running| running.retain(|name| *name != member.name));
            let record = match outcome {
                Ok(record) => record,
                Err(Ending::Stopped) => break,
                Err(Ending::Failed(reason)) => Record {
                    choices: member.choices.clone(),
                    sets: member.sets.clone(),
                    state: State::Failed(reason),
                    trainable_parameters: None,
                    train_seconds: start.elapsed().as_secs_f64(),
                    results: Default::default(),
                },
            };
            self.tell(member, &record);
            self.bar.inc(1);
            let mut records = lock(&self.records);
            records.put(&member.name, record)?;
            let table = summary(self.plan, &records.runs).markdown();
            replace_file(&self.folder.join("table.md"), table.as_bytes())?;
        }
        Ok(())
    }

    /// Trains and evaluates one.
    fn one(&self, member: &Member) -> Result<Record, Ending> {
        let run = RunFolder::at(self.folder.join(&member.name));
        let failed = |error: anyhow::Error| Ending::Failed(format!("{error:#}"));
        let log_path = self.folder.join(format!("{}.log", member.name));
        let log = File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))
            .map_err(failed)?;
        let start = Instant::now();
        if !run.backbone().exists() {
            let mut train = self.hssl(&log).map_err(failed)?;
            train.arg("pretrain").arg(&member.config).arg("--resume").arg("--out").arg(run.path());
            for set in self.sets(member) {
                train.args(["--set", &set]);
            }
            self.end(&mut train, &log_path)?;
        }
        let train_seconds = start.elapsed().as_secs_f64();
        let mut evaluate = self.hssl(&log).map_err(failed)?;
        evaluate.arg("eval").arg(run.path()).arg("--json").stdout(Stdio::piped());
        if let Some(suite) = &self.study.suite {
            evaluate.arg("--suite").arg(suite);
        }
        if let Some(threads) = self.threads {
            evaluate.args(["--set", &format!("train.threads={threads}")]);
        }
        let output = self.end(&mut evaluate, &log_path)?;
        let entries: Vec<Entry> = serde_json::from_slice(&output)
            .context("`hssl eval --json` said something else")
            .map_err(failed)?;
        let record: Option<RunRecord> =
            fs::read(run.record()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Ok(Record {
            choices: member.choices.clone(),
            sets: member.sets.clone(),
            state: State::Done,
            trainable_parameters: record.map(|record| record.trainable_parameters),
            train_seconds,
            results: entries
                .iter()
                .filter_map(|e| Some((e.column(), e.headline_value()?)))
                .collect(),
        })
    }

    fn sets(&self, member: &Member) -> Vec<String> {
        let threads = self.threads.map(|threads| format!("train.threads={threads}"));
        member.sets.iter().cloned().chain(threads).collect()
    }

    /// This program again, with the options that hold for all of it; what it says goes to the log.
    fn hssl(&self, log: &File) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("where this program lies")?);
        let global = &self.session.global;
        for folder in &global.plugin_dir {
            command.arg("--plugin-dir").arg(folder);
        }
        if let Some(root) = &global.data_root {
            command.arg("--data-root").arg(root);
        }
        if global.locked {
            command.arg("--locked");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        Ok(command)
    }

    /// Waits for a command, and gives what it wrote to a pipe.
    fn end(&self, command: &mut Command, log: &Path) -> Result<Vec<u8>, Ending> {
        let output = self.processes.run(command).map_err(|e| Ending::Failed(e.to_string()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        if self.processes.stopped() {
            return Err(Ending::Stopped);
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        let error = said.lines().rfind(|line| line.starts_with("error"));
        let error = error.map_or_else(|| output.status.to_string(), str::to_owned);
        Err(Ending::Failed(format!("{error} (see {})", log.display())))
    }

    fn tell(&self, member: &Member, record: &Record) {
        match &record.state {
            State::Done => {
                let numbers: Vec<String> = record
                    .results
                    .iter()
                    .map(|(name, value)| format!("{name} {value:.2}"))
                    .collect();
                let seconds = record.train_seconds;
                self.session.say(&format!(
                    "{}: {}  trained in {seconds:.0} s",
                    member.name,
                    numbers.join("  ")
                ));
            }
            State::Failed(reason) => self.session.warning(&format!("{}: {reason}", member.name)),
        }
    }

    fn runs(&self, change: impl FnOnce(&mut Vec<&'a str>)) {
        let mut running = lock(&self.running);
        change(&mut running);
        self.bar.set_message(running.join(", "));
    }
}

fn bar(session: &Session, runs: usize, done: usize) -> ProgressBar {
    if session.global.quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} runs {elapsed}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = session.bars.add(ProgressBar::new(runs as u64).with_style(style));
    bar.with_position(done as u64)
}

fn print(summary: &Summary) {
    let mut rows = table::numbers(&summary.headings);
    for row in &summary.rows {
        rows.add_row(row);
    }
    table::print(&rows);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
