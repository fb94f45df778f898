//! Whole training steps.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::side::{measure, number, resolved};
use super::table::{self, spread};
use super::{Length, Sides, Turns, peer};
use crate::workspace::command;

/// One way in which a side runs a case, and what came of it, turn by turn.
struct Lane {
    name: String,
    precision: &'static str,
    compiled: bool,
    ours: bool,
    turns: Vec<Value>,
}

impl Lane {
    fn new(precision: &'static str, ours: bool, compiled: bool) -> Self {
        let name = match (ours, compiled) {
            (true, _) => "hssl".into(),
            (false, false) => format!("eager {precision}"),
            (false, true) => format!("compile {precision}"),
        };
        Self { name, precision, compiled, ours, turns: Vec::new() }
    }

    fn command(&self, sides: &Sides, config: &Path, turns: &Turns, steps: u32) -> Command {
        let mut command = if self.ours {
            let mut host = command(&sides.hssl);
            host.arg("bench").arg(config).arg("--json");
            host.args(["--set", &format!("train.precision={}", self.precision)]);
            host
        } else {
            let mut script = sides.python.command();
            script.arg(peer("dino.py")).arg(config).args(["--precision", self.precision]);
            if self.compiled {
                script.arg("--compile");
            }
            script
        };
        command.args(["--steps", &steps.to_string()]);
        command.args(["--warmup", &turns.warmup.to_string()]);
        command
    }

    fn read(&self, key: &str) -> Result<Vec<f64>> {
        self.turns.iter().map(|turn| number(turn, key)).collect()
    }

    fn speed(&self) -> Result<f64> {
        Ok(spread(self.read("images_per_s")?)[1])
    }
}

/// Times the cases and shows each as soon as it is done.
pub fn run(sides: &Sides, turns: &Turns, cases: &[&String]) -> Result<Value> {
    let columns =
        ["case", "hssl", "PyTorch", "images/s", "", "ratio (least to most)", "peak MiB", ""];
    table::head("Training steps, images per second", &columns);
    let mut all = Vec::new();
    for case in cases {
        let config = resolved(&sides.hssl, "cases", case, &turns.sets)?;
        let mut lanes = Vec::new();
        for precision in &turns.precisions {
            lanes.push(Lane::new(precision, true, false));
            lanes.push(Lane::new(precision, false, false));
            if turns.compile {
                lanes.push(Lane::new(precision, false, true));
            }
        }
        let steps = steps(sides, &config, turns, &lanes[0])?;
        for _ in 0..turns.rounds {
            for lane in &mut lanes {
                lane.turns.push(measure(&mut lane.command(sides, &config, turns, steps))?);
            }
        }
        show(case, &lanes)?;
        all.extend(lanes.iter().map(|lane| {
            json!({ "case": case, "side": lane.name, "precision": lane.precision, "turns": lane.turns })
        }));
    }
    Ok(all.into())
}

/// The same number of steps for every lane, after a few of the first one.
fn steps(sides: &Sides, config: &Path, turns: &Turns, first: &Lane) -> Result<u32> {
    if let Length::Steps(steps) = turns.length {
        return Ok(steps);
    }
    let trial = measure(&mut first.command(sides, config, turns, 2))?;
    Ok(turns.length.steps(number(&trial, "step_ms")? / 1e3))
}

/// Ours beside theirs of the same precision; in bf16 also beside whichever of theirs is the fastest.
fn show(case: &str, lanes: &[Lane]) -> Result<()> {
    let theirs = || lanes.iter().filter(|lane| !lane.ours);
    let mut best: Option<&Lane> = None;
    for lane in theirs() {
        if best.is_none_or(|best| lane.speed().unwrap_or(0.0) > best.speed().unwrap_or(0.0)) {
            best = Some(lane);
        }
    }
    for ours in lanes.iter().filter(|lane| lane.ours) {
        let same = theirs().filter(|lane| lane.precision == ours.precision);
        let faster = best.filter(|best| ours.precision == "bf16" && best.precision == "f32");
        for peer in same.chain(faster) {
            table::row(&[
                case.to_owned(),
                ours.precision.to_owned(),
                peer.name.clone(),
                format!("{:.2}", ours.speed()?),
                format!("{:.2}", peer.speed()?),
                table::ratio(&ours.read("images_per_s")?, &peer.read("images_per_s")?),
                format!("{:.0}", spread(ours.read("peak_mb")?)[1]),
                format!("{:.0}", spread(peer.read("peak_mb")?)[1]),
            ]);
        }
    }
    Ok(())
}
