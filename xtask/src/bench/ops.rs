//! Single operations.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::side::{measure, number};
use super::table::{self, spread};
use super::{Sides, Turns, peer};
use crate::workspace::{command, root};

const FILE: &str = "benches/ops.toml";

/// Name, pass and precision.
type Key = (String, String, String);

/// Times every operation and shows them.
pub fn run(sides: &Sides, turns: &Turns) -> Result<Value> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns.rounds {
        let mut host = command(&sides.hssl);
        host.args(["bench", "--json", "--ops", FILE]);
        ours.push(measure(only(&mut host, turns))?);
        let mut script = sides.python.command();
        script.arg(peer("ops.py")).arg(root().join(FILE));
        theirs.push(measure(only(&mut script, turns))?);
    }
    let columns =
        ["operation", "pass", "precision", "hssl, ms", "PyTorch, ms", "ratio (least to most)"];
    table::head("Operations, milliseconds", &columns);
    let order = ours[0].as_array().context("a list of operations")?;
    let (our_times, their_times) = (times(&ours)?, times(&theirs)?);
    for operation in order {
        let key = key(operation)?;
        let (Some(ours), Some(theirs)) = (our_times.get(&key), their_times.get(&key)) else {
            continue;
        };
        let (name, pass, precision) = key;
        table::row(&[
            name,
            pass,
            precision,
            format!("{:.3}", spread(ours.clone())[1]),
            format!("{:.3}", spread(theirs.clone())[1]),
            table::ratio(theirs, ours),
        ]);
    }
    Ok(json!({ "hssl": ours, "torch": theirs }))
}

/// Limits a side to the one precision that was asked for.
fn only<'a>(side: &'a mut Command, turns: &Turns) -> &'a mut Command {
    if let [precision] = turns.precisions[..] {
        side.args(["--precision", precision]);
    }
    side
}

fn key(operation: &Value) -> Result<Key> {
    let text = |key: &str| -> Result<String> {
        Ok(operation[key].as_str().with_context(|| format!("no {key}: {operation}"))?.to_owned())
    };
    Ok((text("name")?, text("pass")?, text("precision")?))
}

/// The time of each operation, turn by turn.
fn times(turns: &[Value]) -> Result<BTreeMap<Key, Vec<f64>>> {
    let mut times: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for operation in turns.iter().filter_map(Value::as_array).flatten() {
        times.entry(key(operation)?).or_default().push(number(operation, "ms")?);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_gathered_by_operation_pass_and_precision() {
        let turn =
            |ms: f64| json!([{"name": "gelu", "pass": "both", "precision": "f32", "ms": ms}]);
        let found = times(&[turn(1.0), turn(2.0)]).unwrap();
        let key = ("gelu".into(), "both".into(), "f32".into());
        assert_eq!(found, BTreeMap::from([(key, vec![1.0, 2.0])]));
        assert!(times(&[json!([{"name": "gelu"}])]).is_err());
    }
}
