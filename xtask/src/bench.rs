//! `cargo xtask bench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::python::Python;
use crate::workspace::{command, program, root, target};

/// Time training steps against PyTorch: both sides do the same work in turns, so that whatever else
/// the machine does meets both (benches/).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs a Python with torch: the one that HSSL_PYTHON names, or python3. HSSL_BIN names another\nprogram than this tree's.\n\nExamples:
  cargo xtask bench
  cargo xtask bench dino_hssl_cifar10 --rounds 5 --steps 20
  cargo xtask bench --set train.precision=bf16 --compile --json docs/perf/mine.json"
)]
pub struct Args {
    /// Names of files in benches/cases, without their ending; all of them by default.
    cases: Vec<String>,
    /// How often each side's turn comes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Steps that are timed in a turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: u32,
    /// Also against torch.compile.
    #[arg(long)]
    compile: bool,
    /// Change a value of each case, for both sides.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write all measurements here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Who is timed against.
const EAGER: &str = "eager";
const COMPILED: &str = "compile";

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let python = Python::with(&["torch"])?;
    let cases = cases(&args.cases)?;
    let hssl = program()?;
    let peers: &[&str] = if args.compile { &[EAGER, COMPILED] } else { &[EAGER] };
    println!(
        "{:<28} {:<8} {:>10} {:>10}   {:<26} {:>12}",
        "case", "peer", "hssl", "peer", "ratio of images/s", "peak MiB"
    );
    let mut all = Vec::new();
    for case in &cases {
        let config = resolved(&hssl, case, &args.sets)?;
        let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
        for _ in 0..args.rounds {
            ours.push(turn(&mut host(&hssl, &config), args)?);
            for (peer, results) in peers.iter().zip(&mut theirs) {
                results.push(turn(&mut torch(&python, &config, *peer == COMPILED), args)?);
            }
        }
        for (peer, theirs) in peers.iter().zip(&theirs) {
            show(case, peer, &ours, theirs)?;
            all.push(json!({ "case": case, "peer": peer, "hssl": ours, "torch": theirs }));
        }
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&all)? + "\n";
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The asked cases, or all that there are.
fn cases(asked: &[String]) -> Result<Vec<String>> {
    let folder = root().join("benches/cases");
    let files = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let mut known = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            known.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    known.sort();
    if let Some(name) = asked.iter().find(|name| !known.contains(name)) {
        bail!("there is no case {name:?} in benches/cases; there are {}", known.join(", "));
    }
    Ok(if asked.is_empty() { known } else { asked.to_vec() })
}

/// Writes the case with every default filled in: what both sides read.
fn resolved(hssl: &Path, case: &str, sets: &[String]) -> Result<PathBuf> {
    let mut show = command(hssl);
    show.args(["config", "show", "--toml"]).arg(format!("benches/cases/{case}.toml"));
    for set in sets {
        show.args(["--set", set]);
    }
    let text = output(&mut show)?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{case}.toml"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn host(hssl: &Path, config: &Path) -> Command {
    let mut host = command(hssl);
    host.arg("bench").arg(config).arg("--json");
    host
}

fn torch(python: &Python, config: &Path, compiled: bool) -> Command {
    let mut peer = python.command();
    peer.arg(root().join("benches/peers/dino.py")).arg(config);
    if compiled {
        peer.arg("--compile");
    }
    peer
}

/// One side's measurement.
fn turn(side: &mut Command, args: &Args) -> Result<Value> {
    side.args(["--steps", &args.steps.to_string(), "--warmup", &args.warmup.to_string()]);
    let text = output(side)?;
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("no measurement: {text}"))
}

fn output(side: &mut Command) -> Result<String> {
    let program = side.get_program().to_string_lossy().into_owned();
    let done = side.stderr(Stdio::inherit()).output();
    let done = done.with_context(|| format!("cannot start {program}"))?;
    if !done.status.success() {
        bail!("{program}: {}", done.status);
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// Smallest, middle and largest of some numbers.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn show(case: &str, peer: &str, ours: &[Value], theirs: &[Value]) -> Result<()> {
    let read = |turns: &[Value], key: &str| -> Result<Vec<f64>> {
        let number = |turn: &Value| turn[key].as_f64().with_context(|| format!("no {key}: {turn}"));
        turns.iter().map(number).collect()
    };
    let (fast, slow) = (read(ours, "images_per_s")?, read(theirs, "images_per_s")?);
    // Turn by turn: neighbours met the same machine.
    let ratios = fast.iter().zip(&slow).map(|(ours, theirs)| ours / theirs).collect();
    let [least, middle, most] = spread(ratios);
    let peak = |turns: &[Value]| -> Result<f64> { Ok(spread(read(turns, "peak_mb")?)[1]) };
    println!(
        "{case:<28} {peer:<8} {:>10.2} {:>10.2}   {:<26} {:>12}",
        spread(fast)[1],
        spread(slow)[1],
        format!("{middle:.2} ({least:.2} to {most:.2})"),
        format!("{:.0} / {:.0}", peak(ours)?, peak(theirs)?)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_by_name_and_the_others_are_told() {
        let all = cases(&[]).unwrap();
        assert!(all.iter().any(|case| case == "dino_hssl_cifar10"), "{all:?}");
        let one = [all[0].clone()];
        assert_eq!(cases(&one).unwrap(), one);
        let error = cases(&["nothing".into()]).unwrap_err().to_string();
        assert!(error.contains("\"nothing\"") && error.contains("dino_hssl_cifar10"), "{error}");
    }

    #[test]
    fn the_spread_is_smallest_middle_largest() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), [1.0, 2.0, 3.0]);
        assert_eq!(spread(vec![1.0]), [1.0; 3]);
    }
}
