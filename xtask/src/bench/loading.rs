//! Loading and augmenting.

use anyhow::Result;
use serde_json::{Value, json};

use super::side::{measure, number, resolved};
use super::table::{self, spread};
use super::{Sides, Turns, files, peer};
use crate::workspace::command;

/// Times the configurations of benches/loading; the quick ones are those of small images.
pub fn run(sides: &Sides, turns: &Turns, quick: bool) -> Result<Value> {
    let columns =
        ["images", "hssl, images/s", "PyTorch, images/s", "ratio (least to most)", "peak MiB", ""];
    table::head("Loading and augmenting", &columns);
    let mut all = Vec::new();
    for case in files("benches/loading")? {
        if quick && !case.contains("32") {
            continue;
        }
        let config = resolved(&sides.hssl, "loading", &case, &turns.sets)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..turns.rounds {
            // Twenty batches for each step of a second.
            let batches = (20 * turns.length.steps(1.0)).to_string();
            let mut host = command(&sides.hssl);
            host.arg("bench").arg(&config).args(["--loading", "--json", "--steps", &batches]);
            ours.push(measure(&mut host)?);
            let mut script = sides.python.command();
            script.arg(peer("loading.py")).arg(&config).args(["--steps", &batches]);
            theirs.push(measure(&mut script)?);
        }
        let read = |turns: &[Value], key: &str| -> Result<Vec<f64>> {
            turns.iter().map(|turn| number(turn, key)).collect()
        };
        let (fast, slow) = (read(&ours, "images_per_s")?, read(&theirs, "images_per_s")?);
        table::row(&[
            case.clone(),
            format!("{:.1}", spread(fast.clone())[1]),
            format!("{:.1}", spread(slow.clone())[1]),
            table::ratio(&fast, &slow),
            format!("{:.0}", spread(read(&ours, "peak_mb")?)[1]),
            format!("{:.0}", spread(read(&theirs, "peak_mb")?)[1]),
        ]);
        all.push(json!({ "case": case, "hssl": ours, "torch": theirs }));
    }
    Ok(all.into())
}
