//! Configuration files and what they extend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::layer::{Layer, join};
use super::{Error, Origin, Result};

/// The layers of `path`: what it extends, lowest first, then itself.
pub(super) fn layers(path: &Path) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    collect(path, &mut Vec::new(), &mut layers)?;
    Ok(layers)
}

fn collect(path: &Path, open: &mut Vec<PathBuf>, layers: &mut Vec<Layer>) -> Result<()> {
    open.push(path.to_owned());
    let failed = |error: std::io::Error| Error::Read {
        chain: chain(open),
        reason: match error.kind() {
            std::io::ErrorKind::NotFound => "the file does not exist".into(),
            std::io::ErrorKind::IsADirectory => "it is a folder; name a .toml file in it".into(),
            _ => error.to_string(),
        },
    };
    let identity = path.canonicalize().map_err(&failed)?;
    let text = std::fs::read_to_string(path).map_err(&failed)?;
    let again = |earlier: &PathBuf| earlier.canonicalize().is_ok_and(|path| path == identity);
    if open[..open.len() - 1].iter().any(again) {
        return Err(Error::Circle { chain: chain(open) });
    }
    let folder = identity.parent().unwrap_or(Path::new("/")).to_owned();
    let (layer, extends) = parse(&text, path, &folder)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    for base in extends {
        collect(&beside.join(base), open, layers)?;
    }
    layers.push(layer);
    open.pop();
    Ok(())
}

fn chain(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    names.join(" -> ")
}

/// The layer that `text` makes, and what it extends. `path` is for messages; relative paths in
/// `text` start at `folder`.
pub(super) fn parse(text: &str, path: &Path, folder: &Path) -> Result<(Layer, Vec<String>)> {
    let bad = |error: toml::de::Error| Error::Syntax {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    };
    let mut values: Map<String, Value> = toml::from_str(text).map_err(bad)?;
    let extends = match values.remove("extends") {
        None => Vec::new(),
        Some(found) => names(&found)
            .ok_or_else(|| Error::Extends { path: path.to_owned(), found: found.to_string() })?,
    };
    let mut lines = BTreeMap::new();
    find_lines(DeTable::parse(text).map_err(bad)?.get_ref(), "", text, &mut lines);
    let origins = lines
        .into_iter()
        .map(|(key, line)| (key, Origin::File { path: path.to_owned(), line }))
        .collect();
    let fallback = Origin::File { path: path.to_owned(), line: 1 };
    let mut layer = Layer::new(values, fallback);
    layer.origins = origins;
    layer.clear_empty_tables();
    layer.start_paths_at(folder);
    Ok((layer, extends))
}

/// The layer of a suite: a file with a table for each evaluation.
pub(super) fn suite(path: &Path) -> Result<Layer> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Read {
        chain: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let (layer, _) = parse(&text, path, Path::new(""))?;
    Ok(layer.into_evaluations())
}

fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(list) => list.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The line of each key.
fn find_lines(table: &DeTable<'_>, prefix: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        let before = &text.as_bytes()[..key.span().start.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        if let DeValue::Table(inner) = value.get_ref() {
            find_lines(inner, &path, text, lines);
        }
        lines.insert(path, line);
    }
}
