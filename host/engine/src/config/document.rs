//! The JSON schema of a complete configuration file, for editors.

use hssl_plugin_api::component::{ComponentManifest, Kind};
use serde_json::{Map, Value, json};

use super::{RunConfig, layer};

/// The schema of a run's configuration without the components' options.
pub(super) fn run() -> Value {
    schemars::schema_for!(RunConfig).to_value()
}

/// The schema of a configuration file in which every component of `components` may appear.
pub fn document(components: &[ComponentManifest]) -> Value {
    let mut root = run();
    let mut definitions = match root.get_mut("$defs").map(Value::take) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let mut section = |kind: Kind, host_keys: &[&str]| {
        let known: Vec<&ComponentManifest> =
            components.iter().filter(|component| component.kind == kind).collect();
        let names: Vec<&str> = known.iter().map(|component| component.name.as_str()).collect();
        let described: Vec<String> = known
            .iter()
            .map(|component| format!("{}: {}", component.name, component.description))
            .collect();
        let cases: Vec<Value> = known
            .iter()
            .map(|component| {
                let options = hoist(component, host_keys, &mut definitions);
                let when = json!({ "properties": { "plugin": { "const": component.name } } });
                json!({ "if": when, "then": options })
            })
            .collect();
        let plugin = json!({
            "type": "string", "enum": names, "description": described.join("\n"),
        });
        json!({ "type": "object", "properties": { "plugin": plugin }, "allOf": cases })
    };
    let component_keys = layer::host_keys("");
    let head_keys = layer::host_keys("heads.NAME");
    let backbone = section(Kind::Backbone, component_keys);
    let objective = section(Kind::Objective, component_keys);
    let evaluator = section(Kind::Evaluator, component_keys);
    // A head is a backbone where it runs beside the base.
    let parallel = json!({
        "properties": { "connection": { "not": { "const": "serial" } } }, "required": ["connection"],
    });
    let head = json!({
        "type": "object",
        "properties": { "connection": { "$ref": "#/$defs/Connection" } },
        "if": parallel,
        "then": section(Kind::Backbone, head_keys),
        "else": section(Kind::Head, head_keys),
    });
    definitions.insert("head".into(), head);
    definitions.insert("evaluator".into(), evaluator);
    if let Some(Value::Object(properties)) = root.get_mut("properties") {
        for (key, schema) in [("backbone", backbone), ("objective", objective)] {
            insert_described(properties, key, schema);
        }
        let heads = json!({
            "type": "object", "additionalProperties": { "$ref": "#/$defs/head" },
        });
        insert_described(properties, "heads", heads);
        properties.insert(
            "extends".into(),
            json!({
                "description": "Files that this one builds on, relative to it; later ones win.",
                "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" } },
                ],
            }),
        );
    }
    if let Some(Value::Object(eval)) =
        definitions.get_mut("EvalConfig").and_then(|eval| eval.get_mut("properties"))
    {
        let evaluators = json!({
            "type": "object", "additionalProperties": { "$ref": "#/$defs/evaluator" },
        });
        insert_described(eval, "evaluators", evaluators);
    }
    // Any key may come from another layer.
    if let Value::Object(root) = &mut root {
        root.remove("required");
        root.insert("title".into(), json!("hssl configuration"));
        for name in ["HsslConfig", "DataConfig", "TrainConfig", "EvalConfig"] {
            if let Some(Value::Object(section)) = definitions.get_mut(name) {
                section.remove("required");
            }
        }
        root.insert("$defs".into(), Value::Object(definitions));
    }
    root
}

fn insert_described(properties: &mut Map<String, Value>, key: &str, mut schema: Value) {
    if let Some(description) = properties.get(key).and_then(|old| old.get("description")) {
        schema["description"] = description.clone();
    }
    properties.insert(key.to_owned(), schema);
}

/// A component's schema as part of a larger one: its definitions under names of its own, and the host's
/// keys among its own.
fn hoist(
    component: &ComponentManifest,
    host_keys: &[&str],
    definitions: &mut Map<String, Value>,
) -> Value {
    let prefix = format!("{}.{}.", component.kind.word(), component.name);
    let mut schema = component.config.clone();
    rename(&mut schema, &prefix);
    let Value::Object(table) = &mut schema else { return schema };
    if let Some(Value::Object(own)) = table.remove("$defs") {
        definitions.extend(own.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    table.remove("$schema");
    table.remove("required");
    let allowed = host_keys.iter().map(|key| ((*key).to_owned(), json!(true)));
    if let Some(Value::Object(properties)) = table.get_mut("properties") {
        properties.extend(allowed);
    } else if table.get("additionalProperties") == Some(&Value::Bool(false)) {
        table.insert("properties".into(), Value::Object(allowed.collect()));
    }
    schema
}

fn rename(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(table) => {
            for (key, value) in table.iter_mut() {
                match value {
                    Value::String(reference) if key == "$ref" => {
                        if let Some(name) = reference.strip_prefix("#/$defs/") {
                            *reference = format!("#/$defs/{prefix}{name}");
                        }
                    }
                    _ => rename(value, prefix),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, prefix)),
        _ => {}
    }
}
