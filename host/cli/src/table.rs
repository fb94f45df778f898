//! Tables on standard output.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use hssl_engine::component::Report;

/// A table without frames round every cell.
pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header.into_iter().collect::<Vec<_>>());
    table
}

/// Targets by evaluations: each evaluation's headline number.
pub fn results(results: &[(String, BTreeMap<String, Report>)]) -> Table {
    let mut names: Vec<(String, String)> = Vec::new();
    for (_, reports) in results {
        for (name, report) in reports {
            if names.iter().all(|(known, _)| known != name) {
                names.push((name.clone(), format!("{name} {}", report.headline)));
            }
        }
    }
    let mut table = new(std::iter::once("model").chain(names.iter().map(|(_, title)| title.as_str())));
    for (target, reports) in results {
        let mut row = vec![target.clone()];
        row.extend(names.iter().map(|(name, _)| {
            let report = reports.get(name);
            let value = report.and_then(|report| report.metrics.get(&report.headline));
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
        }));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
