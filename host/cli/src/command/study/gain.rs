//! What heads gain, against how much they differ from the base: a study's charts.

use std::collections::BTreeMap;
use std::path::Path;

use hssl_engine::run::RunFolder;

use super::file::{Member, Plan, as_file_name};
use super::record::{Record, State};
use super::summary::moments;
use crate::plot::{Chart, Point, Series, metric_lines};

/// A run that is done, and its discrepancy, if it has a head and measured it.
struct Done<'a> {
    member: &'a Member,
    record: &'a Record,
    discrepancy: Option<f64>,
}

/// Pairs of discrepancy and gain, by chart and entry of its legend.
type Samples = BTreeMap<(String, Vec<String>), BTreeMap<String, Vec<(f64, f64)>>>;

/// A chart for each evaluation by nearest neighbours and each composition but for the head, by file name:
/// a point for each head, its gain over the run that differs by having none, averaged as the table is.
pub fn charts(plan: &Plan, runs: &BTreeMap<String, Record>, folder: &Path) -> Vec<(String, Chart)> {
    let done: Vec<Done<'_>> = plan
        .members
        .iter()
        .filter_map(|member| {
            let record = runs.get(&member.name).filter(|record| record.state == State::Done)?;
            let metrics = RunFolder::at(folder.join(&member.name)).metrics();
            Some(Done { member, record, discrepancy: discrepancy(&metrics) })
        })
        .collect();
    let mut samples = Samples::new();
    for one in &done {
        let Some(discrepancy) = one.discrepancy else { continue };
        let plain = done.iter().filter(|other| other.discrepancy.is_none());
        let plain = plain.filter_map(|other| Some((only_difference(one, other)?, other)));
        // What a head gains is only said where there is no doubt over what.
        let [(axis, plain)] = plain.collect::<Vec<_>>()[..] else { continue };
        let others = plan.axes.iter().zip(&one.member.choices).enumerate();
        let others = others.filter(|(index, ((_, average), _))| *index != axis && !average);
        let others: Vec<String> = others.map(|(_, (_, choice))| choice.clone()).collect();
        for (column, value) in one.record.results.iter().filter(|(name, _)| name.starts_with("knn"))
        {
            let Some(plain) = plain.record.results.get(column) else { continue };
            let of_chart = samples.entry((column.clone(), others.clone())).or_default();
            let of_head = of_chart.entry(one.member.choices[axis].clone()).or_default();
            of_head.push((discrepancy, value - plain));
        }
    }
    samples.into_iter().map(|((column, others), heads)| chart(&column, &others, heads)).collect()
}

fn chart(
    column: &str,
    others: &[String],
    heads: BTreeMap<String, Vec<(f64, f64)>>,
) -> (String, Chart) {
    let series = |(name, samples): (String, Vec<(f64, f64)>)| {
        let (x, y): (Vec<f64>, Vec<f64>) = samples.into_iter().unzip();
        let of = |values: &[f64]| moments(values).unwrap_or_default();
        let ((x, x_deviation), (y, y_deviation)) = (of(&x), of(&y));
        Series { name, points: vec![Point { x, y, x_deviation, y_deviation }] }
    };
    let parts = ["gain", column].into_iter().chain(others.iter().map(String::as_str));
    let file = parts.map(as_file_name).collect::<Vec<_>>().join("-");
    let composition = others.iter().map(|choice| format!(", {choice}")).collect::<String>();
    let chart = Chart {
        title: format!("Gain of each head in {column}{composition}"),
        x: "D = KL(base \u{2016} head) at the end of training, nats".into(),
        y: format!("{column}: gain over no head, percentage points"),
        series: heads.into_iter().map(series).collect(),
        joined: false,
    };
    (file, chart)
}

/// The axis by whose choice alone two runs differ.
fn only_difference(one: &Done<'_>, other: &Done<'_>) -> Option<usize> {
    let choices = one.member.choices.iter().zip(&other.member.choices);
    let mut differences = choices.enumerate().filter(|(_, (a, b))| a != b);
    let (axis, _) = differences.next()?;
    differences.next().is_none().then_some(axis)
}

/// What the last online evaluation of a run found, of its only head or of all joined.
fn discrepancy(metrics: &Path) -> Option<f64> {
    let of_line = |line: &serde_json::Map<String, serde_json::Value>| {
        let heads: Vec<(&str, f64)> = line
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("online/discrepancy.")?, value.as_f64()?))
            })
            .collect();
        match heads.as_slice() {
            [(_, only)] => Some(*only),
            several => several.iter().find(|(name, _)| *name == "heads").map(|(_, d)| *d),
        }
    };
    metric_lines(metrics).iter().rev().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_gain_is_over_the_run_without_a_head_of_the_same_base_and_seed() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = BTreeMap::new();
        let mut members = Vec::new();
        for (head, knn, d) in [("none", [40.0, 44.0], None), ("swin", [45.0, 47.0], Some(0.25))] {
            for seed in [0u32, 1] {
                let choices: Vec<String> = vec!["vit".into(), head.into(), seed.to_string()];
                let name = choices.join("-");
                std::fs::create_dir(folder.path().join(&name)).unwrap();
                let line = d.map_or("{}".into(), |d: f64| {
                    format!("{{\"online/discrepancy.aux\":{}}}", d + 0.5 * f64::from(seed))
                });
                std::fs::write(folder.path().join(&name).join("metrics.jsonl"), line).unwrap();
                let record = Record {
                    choices: choices.clone(),
                    sets: Vec::new(),
                    state: State::Done,
                    trainable_parameters: None,
                    train_seconds: 1.0,
                    results: BTreeMap::from([("knn".to_owned(), knn[seed as usize])]),
                };
                runs.insert(name.clone(), record);
                members.push(Member { name, choices, config: PathBuf::new(), sets: Vec::new() });
            }
        }
        let axes = [("base", false), ("head", false), ("seed", true)];
        let axes = axes.map(|(name, average)| (name.to_owned(), average)).to_vec();
        let found = charts(&Plan { axes, members }, &runs, folder.path());
        let [(name, chart)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(name, "gain-knn-vit");
        let [series] = chart.series.as_slice() else { panic!("{chart:?}") };
        assert_eq!(series.name, "swin");
        let point = series.points[0];
        assert_eq!((point.x, point.y), (0.5, 4.0));
        assert!((point.y_deviation - 2f64.sqrt()).abs() < 1e-12);
    }
}
