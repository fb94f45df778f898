//! Layers and their merging.

use std::collections::BTreeMap;
use std::path::Path;

use hssl_plugin_api::component::Kind;
use serde_json::{Map, Value};

use super::{Connection, Origin};

/// Tables of components by name. They exist only as far as they are filled: an empty one removes
/// what lower layers put there.
const COMPONENT_TABLES: [&str; 2] = ["heads", "eval.evaluators"];

/// Keys of a component's section that are the host's own.
pub(super) fn host_keys(section: &str) -> &'static [&'static str] {
    if section.starts_with("heads.") { &["plugin", "connection"] } else { &["plugin"] }
}

/// Keys that hold a data SPEC.
const SPECS: [&str; 3] = ["train", "eval_train", "eval_test"];

/// A dotted key.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// The value at a dotted key.
pub(super) fn at<'a>(values: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = values.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn at_mut<'a>(values: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Value> {
    match key.split_once('.') {
        Some((first, rest)) => at_mut(values.get_mut(first)?.as_object_mut()?, rest),
        None => values.get_mut(key),
    }
}

/// Removes the value at a dotted key.
fn take(values: &mut Map<String, Value>, key: &str) -> Option<Value> {
    match key.rsplit_once('.') {
        Some((table, last)) => at_mut(values, table)?.as_object_mut()?.remove(last),
        None => values.remove(key),
    }
}

/// The sections of `values` that configure a component, by dotted key.
pub(super) fn sections(values: &Map<String, Value>) -> Vec<(String, Kind)> {
    let mut sections = Vec::new();
    for (key, kind) in [("backbone", Kind::Backbone), ("objective", Kind::Objective)] {
        if values.contains_key(key) {
            sections.push((key.to_owned(), kind));
        }
    }
    for (table, kind) in COMPONENT_TABLES.into_iter().zip([Kind::Head, Kind::Evaluator]) {
        if let Some(Value::Object(components)) = at(values, table) {
            let kind_of = |section: &Value| match kind {
                Kind::Head => connection(section).map_or(kind, Connection::kind),
                other => other,
            };
            let section =
                |(name, section): (&String, &Value)| (join(table, name), kind_of(section));
            sections.extend(components.iter().map(section));
        }
    }
    sections
}

/// What a head's section says that it runs on.
fn connection(section: &Value) -> Option<Connection> {
    serde_json::from_value(section.get("connection")?.clone()).ok()
}

/// What one source says.
#[derive(Debug)]
pub(super) struct Layer {
    pub values: Map<String, Value>,
    /// Tables of lower layers that go first.
    pub clears: Vec<String>,
    /// Origins by dotted key.
    pub origins: BTreeMap<String, Origin>,
    /// The origin of every other key.
    pub fallback: Origin,
}

impl Layer {
    pub(super) fn new(values: Map<String, Value>, fallback: Origin) -> Self {
        Self { values, clears: Vec::new(), origins: BTreeMap::new(), fallback }
    }

    /// Assigns one dotted key; later assignments win.
    pub(super) fn assign(&mut self, key: &str, value: Value, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
        let mut table = &mut self.values;
        let (parents, last) = match key.rsplit_once('.') {
            Some((parents, last)) => (parents.split('.').collect(), last),
            None => (Vec::new(), key),
        };
        for parent in parents {
            let slot = table.entry(parent).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            table = slot.as_object_mut().expect("made a table just now");
        }
        table.insert(last.to_owned(), value);
        self.clear_empty_tables();
    }

    /// Turns an empty table of components into the removal of those below.
    pub(super) fn clear_empty_tables(&mut self) {
        for key in COMPONENT_TABLES {
            if at(&self.values, key) == Some(&Value::Object(Map::new())) {
                take(&mut self.values, key);
                self.clears.push(key.to_owned());
            }
        }
    }

    /// Removes every component below that this layer does not have itself.
    pub(super) fn clear_components(&mut self) {
        self.clears.extend(COMPONENT_TABLES.map(str::to_owned));
    }

    /// Takes the values for a table of evaluations that replaces the one below.
    pub(super) fn into_evaluations(self) -> Self {
        let table = COMPONENT_TABLES[1];
        let mut layer = Self::new(Map::new(), self.fallback.clone());
        layer.assign(table, Value::Object(self.values), self.fallback);
        layer.clears = vec![table.to_owned()];
        layer.origins = self.origins.into_iter().map(|(key, at)| (join(table, &key), at)).collect();
        layer
    }

    /// Makes the relative paths among the values absolute, starting at `folder`.
    pub(super) fn start_paths_at(&mut self, folder: &Path) {
        let rebase = |value: &mut Value, absolute: &dyn Fn(&str) -> String| {
            if let Value::String(text) = value {
                *text = absolute(text);
            }
        };
        let path = |text: &str| folder.join(text).display().to_string();
        if let Some(out) = self.values.get_mut("out") {
            rebase(out, &path);
        }
        if let Some(Value::Object(data)) = self.values.get_mut("data") {
            if let Some(root) = data.get_mut("root") {
                rebase(root, &path);
            }
            for key in SPECS {
                if let Some(spec) = data.get_mut(key) {
                    rebase(spec, &|text| hssl_datasets::absolute(text, folder));
                }
            }
        }
    }

    fn origin(&self, key: &str) -> Origin {
        // An inline table has one line for all its keys: the nearest parent's.
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin.clone();
            }
            match key.rsplit_once('.') {
                Some((parent, _)) => key = parent,
                None => return self.fallback.clone(),
            }
        }
    }
}

/// The result of laying layers over each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged {
    pub values: Map<String, Value>,
    /// Origins of values that are not tables, and of empty tables, by dotted key.
    pub origins: BTreeMap<String, Origin>,
}

impl Merged {
    pub(super) fn of<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Self {
        let mut merged = Self::default();
        for layer in layers {
            merged.lay(layer);
        }
        merged
    }

    fn lay(&mut self, layer: &Layer) {
        for key in &layer.clears {
            take(&mut self.values, key);
            self.forget(key);
        }
        self.drop_options_of_former_components(&layer.values);
        put(&mut self.values, &layer.values, "", layer, &mut self.origins);
    }

    /// Options belong to the component that they were said for: another plugin, or another kind of
    /// component of it, takes them with it.
    fn drop_options_of_former_components(&mut self, above: &Map<String, Value>) {
        let kinds: BTreeMap<String, Kind> = sections(&self.values).into_iter().collect();
        for (key, kind) in sections(above) {
            let plugin = |values| at(values, &key)?.get("plugin").cloned();
            let (former, new) = (plugin(&self.values), plugin(above));
            let connects =
                at(above, &key).is_some_and(|section| section.get("connection").is_some());
            let other_kind = connects && kinds.get(&key).is_some_and(|former| *former != kind);
            if former.is_some() && new.is_some() && former != new {
                take(&mut self.values, &key);
                self.forget(&key);
            } else if other_kind {
                self.keep_plugin_alone(&key);
            }
        }
    }

    /// Removes what a component's section says but for `plugin`.
    fn keep_plugin_alone(&mut self, key: &str) {
        let plugin = join(key, "plugin");
        if let Some(Value::Object(section)) = at_mut(&mut self.values, key) {
            section.retain(|name, _| name == "plugin");
        }
        let below = format!("{key}.");
        self.origins.retain(|other, _| *other == plugin || !other.starts_with(&below));
    }

    /// Puts one value on top.
    pub(super) fn fill(&mut self, key: &str, value: Value, origin: Origin) {
        let mut layer = Layer::new(Map::new(), origin.clone());
        layer.assign(key, value, origin);
        self.lay(&layer);
    }

    fn forget(&mut self, key: &str) {
        let below = format!("{key}.");
        self.origins.retain(|other, _| other != key && !other.starts_with(&below));
    }
}

/// The origin of a value; of a table, that of its first value.
pub(super) fn origin<'a>(origins: &'a BTreeMap<String, Origin>, key: &str) -> Option<&'a Origin> {
    origins.get(key).or_else(|| {
        let below = format!("{key}.");
        origins
            .range(below.clone()..)
            .next()
            .filter(|(first, _)| first.starts_with(&below))
            .map(|(_, origin)| origin)
    })
}

fn put(
    into: &mut Map<String, Value>,
    from: &Map<String, Value>,
    prefix: &str,
    layer: &Layer,
    origins: &mut BTreeMap<String, Origin>,
) {
    for (key, value) in from {
        let path = join(prefix, key);
        match value {
            Value::Object(above) if !above.is_empty() => {
                let slot = into.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                origins.remove(&path);
                let below = slot.as_object_mut().expect("made a table just now");
                put(below, above, &path, layer, origins);
            }
            // An empty table changes nothing where there is one already.
            Value::Object(_) if into.get(key).is_some_and(Value::is_object) => {}
            _ => {
                let inside = format!("{path}.");
                origins.retain(|other, _| !other.starts_with(&inside));
                origins.insert(path.clone(), layer.origin(&path));
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
