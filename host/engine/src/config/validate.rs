//! Values against a JSON schema, told in a user's words: the key, what was found, what was
//! expected, and the nearest known key. All problems are found, not only the first.
//!
//! The walk knows what schemars writes for serde types. What else a component's schema may say is
//! left to [`leftovers`].

use serde_json::{Map, Value};

use super::Problem;
use super::layer::join;

/// How like a known key an unknown one has to be to be taken for it.
const NEAR: f64 = 0.8;

/// The schema that `schema` stands for.
pub(super) fn target<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    // References of references are few; a circle of nothing but references is no schema.
    for _ in 0..16 {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
        let Some(found) = reference.strip_prefix('#').and_then(|path| root.pointer(path)) else {
            return schema;
        };
        schema = found;
    }
    schema
}

/// The candidate nearest to `word`, if one is near.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let likeness = |candidate: &str| {
        // Two letters swapped weigh too much in a word as short as `aux`.
        let slip = word.len() > 2 && strsim::osa_distance(word, candidate) == 1;
        strsim::jaro_winkler(word, candidate).max(if slip { NEAR } else { 0.0 })
    };
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Checks `value`, found at `key`, against `schema`, a part of `root`. Keys named in `known` are
/// accepted in its outermost table.
pub(super) fn check(
    root: &Value,
    schema: &Value,
    key: &str,
    value: &Value,
    known: &[&str],
) -> Vec<Problem> {
    let mut walk = Walk { root, problems: Vec::new() };
    walk.value(schema, key, value, known);
    walk.problems
}

/// What a validator finds that the walk does not know.
pub(super) fn leftovers(schema: &Value, key: &str, value: &Value) -> Vec<Problem> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("the plugin's own schema of this section is broken: {error}");
            return vec![Problem::error(key, message)];
        }
    };
    validator
        .iter_errors(value)
        .map(|error| {
            let inside = error.instance_path().to_string().replace('/', ".");
            Problem::error(format!("{key}{inside}"), error.to_string())
        })
        .collect()
}

struct Walk<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn value(&mut self, schema: &Value, key: &str, value: &Value, known: &[&str]) {
        let schema = target(self.root, schema);
        if let Some(Value::Array(all)) = schema.get("allOf") {
            for part in all {
                self.value(part, key, value, known);
            }
        }
        if let Some(choices) = choices(self.root, schema) {
            if !choices.contains(&value) {
                self.not_a_choice(key, value, &choices);
            }
            return;
        }
        if let Some(Value::Array(variants)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            return self.variants(schema, variants, key, value, known);
        }
        if !has_type(schema, value) {
            self.mismatch(schema, key, value);
            return;
        }
        match value {
            Value::Object(table) => self.table(schema, key, table, known),
            Value::Array(list) => self.list(schema, key, list),
            Value::Number(number) => self.number(schema, key, number.as_f64().unwrap_or(f64::NAN)),
            _ => {}
        }
    }

    /// One of several shapes: right if one fits, else judged by the one that fits best.
    fn variants(
        &mut self,
        schema: &Value,
        variants: &[Value],
        key: &str,
        value: &Value,
        known: &[&str],
    ) {
        let of_type: Vec<&Value> = variants
            .iter()
            .filter(|variant| {
                let variant = target(self.root, variant);
                variant.get("anyOf").or(variant.get("oneOf")).is_some() || has_type(variant, value)
            })
            .collect();
        let best = of_type
            .into_iter()
            .map(|variant| check(self.root, variant, key, value, known))
            .min_by_key(Vec::len);
        match best {
            Some(problems) => self.problems.extend(problems),
            None => self.mismatch(schema, key, value),
        }
    }

    fn table(&mut self, schema: &Value, key: &str, table: &Map<String, Value>, known: &[&str]) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let additional = schema.get("additionalProperties");
        for (name, value) in table {
            let path = join(key, name);
            if let Some(property) = properties.get(name) {
                self.value(property, &path, value, &[]);
            } else if !known.contains(&name.as_str()) {
                match additional {
                    Some(Value::Bool(true)) => {}
                    Some(inner @ Value::Object(_)) => self.value(inner, &path, value, &[]),
                    None if schema.get("properties").is_none() => {}
                    _ => self.unknown(&path, name, properties, known),
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) && !known.contains(&name) {
                let about = properties.get(name).map(|property| {
                    let property = target(self.root, property);
                    format!("; expected {}{}", self.expected(property), purpose(property))
                });
                let message = format!("is missing{}", about.unwrap_or_default());
                self.problems.push(Problem::error(join(key, name), message));
            }
        }
    }

    fn unknown(&mut self, path: &str, name: &str, siblings: &Map<String, Value>, known: &[&str]) {
        let here = siblings.keys().map(String::as_str).chain(known.iter().copied());
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let near = nearest(name, here).map(|near| join(parent, near));
        let advice = match near.or_else(|| self.elsewhere(name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if siblings.is_empty() => "this section takes no keys".to_owned(),
            None => {
                let names: Vec<&str> = siblings.keys().map(String::as_str).collect();
                format!("known here: {}", names.join(", "))
            }
        };
        self.problems.push(Problem::error(path, format!("unknown key; {advice}")));
    }

    /// The full key of `name` in one of the root's sections.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let sections = self.root.get("properties")?.as_object()?;
        let has = |section: &&Value| {
            target(self.root, section).get("properties").is_some_and(|p| p.get(name).is_some())
        };
        let (section, _) = sections.iter().find(|(_, section)| has(section))?;
        Some(join(section, name))
    }

    fn list(&mut self, schema: &Value, key: &str, list: &[Value]) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).map(|n| n as usize);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems"));
        if list.len() < least || most.is_some_and(|most| list.len() > most) {
            let expected = match most {
                Some(most) if most == least => format!("{most}"),
                Some(most) => format!("{least} to {most}"),
                None => format!("at least {least}"),
            };
            let message = format!("is a list of {}; expected {expected} values", list.len());
            self.problems.push(Problem::error(key, message));
        }
        for (index, value) in list.iter().enumerate() {
            let item = schema.get("prefixItems").and_then(|items| items.get(index));
            if let Some(item) = item.or_else(|| schema.get("items")) {
                self.value(item, &format!("{key}[{index}]"), value, &[]);
            }
        }
    }

    fn number(&mut self, schema: &Value, key: &str, number: f64) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let least = bound("minimum").filter(|least| number < *least);
        let most = bound("maximum").filter(|most| number > *most);
        let above = bound("exclusiveMinimum").filter(|least| number <= *least);
        let below = bound("exclusiveMaximum").filter(|most| number >= *most);
        let expected = [
            least.map(|bound| format!("{bound} or more")),
            most.map(|bound| format!("{bound} or less")),
            above.map(|bound| format!("more than {bound}")),
            below.map(|bound| format!("less than {bound}")),
        ];
        if let Some(expected) = expected.into_iter().flatten().next() {
            self.problems.push(Problem::error(key, format!("is {number}; expected {expected}")));
        }
    }

    fn not_a_choice(&mut self, key: &str, value: &Value, choices: &[&Value]) {
        let words: Vec<&str> = choices.iter().filter_map(|choice| choice.as_str()).collect();
        let near = value.as_str().and_then(|word| nearest(word, words.iter().copied()));
        let advice = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        let message =
            format!("is {}; expected {}{advice}", found(value), one_of(choices.iter().copied()));
        self.problems.push(Problem::error(key, message));
    }

    fn mismatch(&mut self, schema: &Value, key: &str, value: &Value) {
        let message =
            format!("is {}; expected {}{}", found(value), self.expected(schema), purpose(schema));
        self.problems.push(Problem::error(key, message));
    }

    /// What `schema` accepts.
    fn expected(&self, schema: &Value) -> String {
        let schema = target(self.root, schema);
        if let Some(choices) = choices(self.root, schema) {
            return one_of(choices.into_iter());
        }
        if let Some(Value::Array(variants)) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            let mut words: Vec<String> = variants
                .iter()
                .filter(|variant| variant.get("type") != Some(&Value::from("null")))
                .map(|variant| self.expected(variant))
                .collect();
            words.dedup();
            return words.join(" or ");
        }
        let whole = |minimum: Option<f64>| match minimum {
            Some(0.0) => "a whole number, 0 or more".to_owned(),
            _ => "a whole number".to_owned(),
        };
        let words: Vec<String> = types(schema)
            .iter()
            .filter_map(|name| match *name {
                "integer" => Some(whole(schema.get("minimum").and_then(Value::as_f64))),
                "number" => Some("a number".into()),
                "string" => Some("a text in quotes".into()),
                "boolean" => Some("true or false".into()),
                "array" => Some("a list".into()),
                "object" => Some("a table".into()),
                _ => None,
            })
            .collect();
        if words.is_empty() { "another value".into() } else { words.join(" or ") }
    }
}

/// The values of an enumeration, whichever way it is written.
fn choices<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a Value>> {
    if let Some(Value::Array(values)) = schema.get("enum") {
        return Some(values.iter().collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    let Some(Value::Array(variants)) = schema.get("oneOf").or_else(|| schema.get("anyOf")) else {
        return None;
    };
    let mut all = Vec::new();
    for variant in variants {
        let variant = target(root, variant);
        if variant.get("type") == Some(&Value::from("null")) {
            all.push(&Value::Null);
        } else {
            all.extend(choices(root, variant)?);
        }
    }
    Some(all)
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let types = types(schema);
    types.is_empty()
        || types.iter().any(|name| match *name {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        })
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "not a finite number".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "a table".into(),
    }
}

fn one_of<'a>(choices: impl Iterator<Item = &'a Value>) -> String {
    let words: Vec<String> =
        choices.filter(|choice| !choice.is_null()).map(Value::to_string).collect();
    match words.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", words.join(", ")),
    }
}

/// The first sentence of a schema's description, in parentheses.
fn purpose(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim_end_matches('.');
    if line.is_empty() { String::new() } else { format!(" ({line})") }
}
