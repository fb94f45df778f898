//! Charts as SVG and PNG, from numbers that commands have measured.

mod chart;
pub mod training;

pub use chart::{Chart, Point, Series};

use std::io::BufRead;
use std::path::Path;

use serde_json::{Map, Value};

/// The lines of a run's metrics file that can be read; none, if there is no file.
pub fn metric_lines(path: &Path) -> Vec<Map<String, Value>> {
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    let lines = std::io::BufReader::new(file).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}
