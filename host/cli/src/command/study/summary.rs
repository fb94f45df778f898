//! The table of a study: a row for each composition, means and deviations over the averaged axes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::file::Plan;
use super::record::{Record, State};

/// Headings and cells; the first cells of a row are its choices.
#[derive(Debug, PartialEq)]
pub struct Summary {
    /// Headings.
    pub headings: Vec<String>,
    /// Rows in the plan's order.
    pub rows: Vec<Vec<String>>,
    /// Columns that hold choices.
    pub choices: usize,
}

/// What is known so far.
pub fn summary(plan: &Plan, runs: &BTreeMap<String, Record>) -> Summary {
    let kept = |choices: &[String]| -> Vec<String> {
        let axes = choices.iter().zip(&plan.axes);
        axes.filter(|(_, (_, average))| !average).map(|(choice, _)| choice.clone()).collect()
    };
    let mut groups: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    for member in &plan.members {
        let key = kept(&member.choices);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(&member.name),
            None => groups.push((key, vec![&member.name])),
        }
    }
    let done: Vec<&Record> =
        plan.members.iter().filter_map(|member| runs.get(&member.name)).collect();
    let columns: BTreeSet<&String> = done.iter().flat_map(|record| record.results.keys()).collect();
    let axes =
        plan.axes.iter().filter(|(_, average)| !average).map(|(name, _)| name.to_uppercase());
    let measured = columns.iter().map(|column| column.to_string());
    let headings =
        axes.chain(measured).chain(["PARAMETERS", "MINUTES", "RUNS"].map(str::to_owned)).collect();
    let rows = groups.iter().map(|(choices, names)| {
        let records: Vec<&Record> = names.iter().filter_map(|name| runs.get(*name)).collect();
        let good: Vec<&Record> =
            records.iter().filter(|record| record.state == State::Done).copied().collect();
        let mut cells = choices.clone();
        for column in &columns {
            let values: Vec<f64> =
                good.iter().filter_map(|record| record.results.get(*column).copied()).collect();
            cells.push(mean_and_deviation(&values));
        }
        let parameters = good.first().and_then(|record| record.trainable_parameters);
        cells.push(parameters.map_or("-".into(), crate::table::grouped));
        let minutes: Vec<f64> = good.iter().map(|record| record.train_seconds / 60.0).collect();
        cells.push(mean(&minutes).map_or("-".into(), |minutes| format!("{minutes:.1}")));
        let failed = records.len() - good.len();
        let note = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        cells.push(format!("{}/{}{note}", good.len(), names.len()));
        cells
    });
    let rows = rows.collect();
    Summary { headings, rows, choices: plan.axes.iter().filter(|(_, average)| !average).count() }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Mean and standard deviation, the sample's; of one value, 0.
pub fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (values.len() - 1).max(1) as f64).sqrt()))
}

/// `47.28 ± 0.47`: the deviation is left out for one value.
fn mean_and_deviation(values: &[f64]) -> String {
    match (moments(values), values) {
        (None, _) => "-".into(),
        (Some((mean, _)), [_]) => format!("{mean:.2}"),
        (Some((mean, deviation)), _) => format!("{mean:.2} ± {deviation:.2}"),
    }
}

impl Summary {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n", self.headings.join(" | "));
        let rule = (0..self.headings.len()).map(|i| if i < self.choices { "---" } else { "---:" });
        let _ = writeln!(text, "| {} |", rule.collect::<Vec<_>>().join(" | "));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Member;
    use super::*;

    #[test]
    fn seeds_are_averaged_and_failures_counted() {
        let member = |head: &str, seed: &str| Member {
            name: format!("{head}-{seed}"),
            config: Default::default(),
            choices: vec![head.into(), seed.into()],
            sets: Vec::new(),
        };
        let members = ["none", "swin"].map(|head| ["0", "1", "2"].map(|seed| member(head, seed)));
        let axes = vec![("head".to_owned(), false), ("seed".to_owned(), true)];
        let plan = Plan { axes, members: members.into_iter().flatten().collect() };
        let record = |state: State, value: f64| Record {
            choices: Vec::new(),
            sets: Vec::new(),
            state,
            trainable_parameters: Some(1_234),
            train_seconds: 90.0,
            results: BTreeMap::from([("knn".to_owned(), value)]),
        };
        let mut runs: BTreeMap<String, Record> = [40.0, 42.0, 44.0]
            .iter()
            .enumerate()
            .map(|(seed, value)| (format!("none-{seed}"), record(State::Done, *value)))
            .collect();
        runs.insert("swin-0".into(), record(State::Done, 50.0));
        runs.insert("swin-1".into(), record(State::Failed("no memory".into()), 0.0));
        let summary = summary(&plan, &runs);
        assert_eq!(summary.headings, ["HEAD", "knn", "PARAMETERS", "MINUTES", "RUNS"]);
        assert_eq!(summary.rows[0], ["none", "42.00 ± 2.00", "1,234", "1.5", "3/3"]);
        assert_eq!(summary.rows[1], ["swin", "50.00", "1,234", "1.5", "1/3, 1 failed"]);
        assert!(summary.markdown().starts_with("| HEAD | knn |"));
    }
}
