//! `cargo xtask bench`.

mod loading;
mod ops;
mod side;
mod steps;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::python::Python;
use crate::workspace::{program, root};

/// Time training steps, loading and single operations against PyTorch: both sides do the same work in
/// turns, so that whatever else the machine does meets both (benches/).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs a Python with torch, torchvision and timm: the one that HSSL_PYTHON names, or python3.
HSSL_BIN names another program than this tree's. Images are looked for under HSSL_DATA.

Examples:
  cargo xtask bench
  cargo xtask bench --quick
  cargo xtask bench dino_hssl_cifar10 --rounds 5 --steps 20
  cargo xtask bench ops --precision f32
  cargo xtask bench dino_hssl_vit_tiny_32 --compile --json docs/perf/mine.json"
)]
pub struct Args {
    /// Files in benches/cases without their ending, `ops`, or `loading`; by default everything.
    cases: Vec<String>,
    /// The cases of 32 x 32 images, the operations, and one case of loading, with few turns.
    #[arg(long, conflicts_with = "cases")]
    quick: bool,
    /// How often each side's turn comes [default: 3, or 2 with --quick].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Steps that are timed in a turn [default: for 5 seconds, or 3 with --quick, and at least 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Steps before them.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: u32,
    /// Also against torch.compile.
    #[arg(long)]
    compile: bool,
    /// Only in this precision; by default in both.
    #[arg(long, value_name = "P", value_parser = ["f32", "bf16"])]
    precision: Option<String>,
    /// Change a value of each case, for both sides.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write all measurements here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The names beside those of benches/cases.
const OPS: &str = "ops";
const LOADING: &str = "loading";

/// How the sides take turns.
pub struct Turns {
    rounds: u32,
    length: Length,
    warmup: u32,
    compile: bool,
    precisions: Vec<&'static str>,
    sets: Vec<String>,
}

/// How long a turn is.
#[derive(Clone, Copy)]
pub enum Length {
    /// So many steps.
    Steps(u32),
    /// As many as take about so many seconds: single steps of a small model say nothing.
    Seconds(f64),
}

impl Length {
    /// Fewest steps of a turn.
    const FEWEST: u32 = 3;

    /// Steps of a turn where one takes `step` seconds.
    pub fn steps(self, step: f64) -> u32 {
        match self {
            Self::Steps(steps) => steps,
            Self::Seconds(seconds) => ((seconds / step).ceil() as u32).max(Self::FEWEST),
        }
    }
}

/// Both sides.
pub struct Sides {
    hssl: PathBuf,
    python: Python,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let cases = files("benches/cases")?;
    let asked = asked(args, &cases)?;
    let python = Python::with(&["torch", "torchvision", "timm"])?;
    let sides = Sides { hssl: program()?, python };
    let turns = Turns {
        rounds: args.rounds.unwrap_or(if args.quick { 2 } else { 3 }),
        length: match args.steps {
            Some(steps) => Length::Steps(steps),
            None => Length::Seconds(if args.quick { 3.0 } else { 5.0 }),
        },
        warmup: args.warmup,
        compile: args.compile,
        precisions: ["f32", "bf16"]
            .into_iter()
            .filter(|name| args.precision.as_ref().is_none_or(|only| only == name))
            .collect(),
        sets: args.sets.clone(),
    };
    let steps: Vec<&String> = asked.iter().filter(|name| cases.contains(name)).collect();
    let mut all = serde_json::Map::new();
    if !steps.is_empty() {
        all.insert("steps".into(), steps::run(&sides, &turns, &steps)?);
    }
    if asked.iter().any(|name| name == LOADING) {
        all.insert(LOADING.into(), loading::run(&sides, &turns, args.quick)?);
    }
    if asked.iter().any(|name| name == OPS) {
        all.insert(OPS.into(), ops::run(&sides, &turns)?);
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&json!(all))? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The asked names, or all that there are.
fn asked(args: &Args, cases: &[String]) -> Result<Vec<String>> {
    let beside = [LOADING, OPS].map(String::from);
    let known = || cases.iter().chain(&beside);
    if let Some(name) = args.cases.iter().find(|name| !known().any(|known| known == *name)) {
        let known: Vec<_> = known().cloned().collect();
        bail!("there is no case {name:?}; there are {}", known.join(", "));
    }
    Ok(match args.cases.is_empty() {
        false => args.cases.clone(),
        true => known().filter(|name| !args.quick || is_quick(name)).cloned().collect(),
    })
}

/// Whether a case belongs to a quick comparison.
fn is_quick(case: &str) -> bool {
    case == OPS || case == LOADING || case.ends_with("_32") || case.ends_with("_cifar10")
}

/// The configurations of a folder, without their ending.
fn files(folder: &str) -> Result<Vec<String>> {
    let folder = root().join(folder);
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// A script of benches/peers.
fn peer(name: &str) -> PathBuf {
    Path::new(root()).join("benches/peers").join(name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn line(words: &[&str]) -> Result<Vec<String>> {
        let words = std::iter::once("bench").chain(words.iter().copied());
        let cases = files("benches/cases")?;
        asked(&Line::try_parse_from(words)?.args, &cases)
    }

    #[test]
    fn cases_are_found_by_name_and_the_others_are_told() {
        let all = line(&[]).unwrap();
        for name in ["dino_hssl_cifar10", "dino_hssl_vit_small_224", OPS, LOADING] {
            assert!(all.iter().any(|case| case == name), "{name} in {all:?}");
        }
        assert_eq!(line(&["ops"]).unwrap(), ["ops"]);
        let error = line(&["nothing"]).unwrap_err().to_string();
        assert!(error.contains("\"nothing\"") && error.contains("dino_hssl_cifar10"), "{error}");
    }

    #[test]
    fn short_steps_are_timed_more_often() {
        assert_eq!(Length::Seconds(3.0).steps(0.05), 60);
        assert_eq!(Length::Seconds(3.0).steps(10.0), 3);
        assert_eq!(Length::Steps(2).steps(0.05), 2);
    }

    #[test]
    fn the_quick_ones_are_small() {
        let quick = line(&["--quick"]).unwrap();
        assert!(quick.iter().any(|case| case == "dino_hssl_vit_tiny_32"), "{quick:?}");
        assert!(!quick.iter().any(|case| case.ends_with("_224")), "{quick:?}");
    }
}
