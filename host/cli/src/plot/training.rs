//! How heads and base grow apart, over a training.

use std::collections::BTreeMap;
use std::path::Path;

use hssl_engine::run::RunFolder;

use super::{Chart, Point, Series, metric_lines};

/// Name of the file and in metrics, title, and vertical axis.
const MEASURES: [(&str, &str, &str); 3] = [
    ("discrepancy", "Discrepancy of base and head", "D = KL(base \u{2016} head), nats"),
    ("cka", "Linear CKA of base and head", "linear CKA (1: alike up to rotation and scale)"),
    (
        "procrustes",
        "Procrustes similarity of base and head",
        "Procrustes similarity (1: alike up to rotation and scale)",
    ),
];

/// Charts of what the online evaluations of some runs have measured, by file name; those that none of
/// them has are left out.
pub fn charts(runs: &[(String, RunFolder)]) -> Vec<(&'static str, Chart)> {
    let measured: Vec<(&str, Heads)> =
        runs.iter().map(|(name, run)| (name.as_str(), heads(&run.metrics()))).collect();
    let chart = |(measure, title, y): (&'static str, &str, &str)| {
        let mut series = Vec::new();
        for (run, heads) in &measured {
            let of_measure = heads.iter().filter(|((name, _), _)| name == measure);
            for ((_, head), points) in of_measure {
                let name = if runs.len() > 1 { format!("{run}: {head}") } else { head.clone() };
                series.push(Series { name, points: points.clone() });
            }
        }
        let (title, x, y) = (title.to_owned(), "epochs of training".to_owned(), y.to_owned());
        (measure, Chart { title, x, y, series, joined: true })
    };
    MEASURES.map(chart).into_iter().filter(|(_, chart)| !chart.series.is_empty()).collect()
}

/// Points by measure and head.
type Heads = BTreeMap<(String, String), Vec<Point>>;

fn heads(metrics: &Path) -> Heads {
    let mut heads = Heads::new();
    for line in metric_lines(metrics) {
        // Epochs are counted from 0, and evaluations come at their ends.
        let epochs = line.get("epoch").and_then(|epoch| epoch.as_f64()).unwrap_or_default() + 1.0;
        for (key, value) in &line {
            let name = key.strip_prefix("online/").and_then(|name| name.split_once('.'));
            let (Some((measure, head)), Some(y)) = (name, value.as_f64()) else { continue };
            let points = heads.entry((measure.to_owned(), head.to_owned())).or_default();
            points.push(Point { x: epochs, y, ..Point::default() });
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_of_every_run_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let line = |epoch: usize, d: f64| {
            format!(
                "{{\"epoch\":{epoch},\"online/discrepancy.a\":{d},\"online/cka.a\":0.5,\
                 \"online/knn_top1@20\":40.0,\"loss/a->a\":1.0}}\n"
            )
        };
        std::fs::write(folder.path().join("metrics.jsonl"), line(0, 0.25) + &line(4, 0.5)).unwrap();
        let run = RunFolder::at(folder.path());
        let found = charts(&[("one".into(), run.clone())]);
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["discrepancy", "cka"]);
        let series = &found[0].1.series;
        let points = [(1.0, 0.25), (5.0, 0.5)].map(|(x, y)| Point { x, y, ..Point::default() });
        assert_eq!(*series, [Series { name: "a".into(), points: points.to_vec() }]);
        let two = charts(&[("one".into(), run.clone()), ("two".into(), run)]);
        let names: Vec<&str> = two[0].1.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["one: a", "two: a"]);
        let nothing = RunFolder::at(folder.path().join("none"));
        assert!(charts(&[("none".into(), nothing)]).is_empty());
    }
}
