//! What a configuration needs to know of components.

use hssl_plugin_api::component::Kind;
use serde_json::{Map, Value};

use super::layer::{Merged, at, join, sections};
use super::validate::target;
use super::{Origin, Problem};
use crate::plugin::Registry;

/// The components there are; the plugin registry knows them.
pub trait Recipes {
    /// The objective's defaults for the rest of a configuration; `null` if it has none.
    ///
    /// # Errors
    /// Says that there is no such objective, and which there are.
    fn recipe(&self, objective: &str) -> Result<Value, Box<dyn std::error::Error + Send + Sync>>;

    /// The JSON schema of a component's section.
    ///
    /// # Errors
    /// Says that there is no such component, and which there are.
    fn schema(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>>;
}

impl Recipes for Registry {
    fn recipe(&self, objective: &str) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.component(Kind::Objective, objective)?.manifest.recipe.clone())
    }

    fn schema(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.component(kind, name)?.manifest.config.clone())
    }
}

/// A component that a configuration names.
#[derive(Debug)]
pub(super) struct Named {
    /// Dotted key of its section.
    pub key: String,
    /// The value of `plugin` in it.
    pub plugin: String,
    /// The schema of its options.
    pub schema: Value,
}

/// The components that the values name; unknown ones become problems.
pub(super) fn named(
    merged: &Merged,
    recipes: &dyn Recipes,
    problems: &mut Vec<Problem>,
) -> Vec<Named> {
    let mut found = Vec::new();
    for (key, kind) in sections(&merged.values) {
        // A missing or mistyped name is the document schema's to report.
        let plugin = at(&merged.values, &key).and_then(|section| section.get("plugin"));
        let Some(plugin) = plugin.and_then(Value::as_str) else { continue };
        match recipes.schema(kind, plugin) {
            Ok(schema) => found.push(Named { key, plugin: plugin.to_owned(), schema }),
            Err(error) => {
                let at = join(&key, "plugin");
                // An evaluation that only the defaults ask for is missed when it is to run.
                let users = merged.origins.get(&at).is_some_and(Origin::is_users);
                let problem = match kind {
                    Kind::Evaluator if !users => Problem::warning,
                    _ => Problem::error,
                };
                problems.push(problem(at, error.to_string()));
            }
        }
    }
    found
}

/// Writes the defaults of the component's own options where nothing else said a value, so that a
/// run's record is complete.
pub(super) fn fill_defaults(component: &Named, merged: &mut Merged) {
    let Some(Value::Object(section)) = at(&merged.values, &component.key) else { return };
    let mut missing = Vec::new();
    collect_defaults(&component.schema, &component.schema, section, &component.key, &mut missing);
    for (key, value) in missing {
        merged.fill(&key, value, Origin::Component(component.plugin.clone()));
    }
}

fn collect_defaults(
    root: &Value,
    schema: &Value,
    section: &Map<String, Value>,
    prefix: &str,
    missing: &mut Vec<(String, Value)>,
) {
    let Some(Value::Object(properties)) = target(root, schema).get("properties") else { return };
    for (key, property) in properties {
        let path = join(prefix, key);
        match (section.get(key), property.get("default")) {
            (Some(Value::Object(inner)), _) => {
                collect_defaults(root, property, inner, &path, missing);
            }
            (None, Some(default)) if !default.is_null() => {
                let mut default = default.clone();
                shorten_floats(&mut default);
                missing.push((path, default));
            }
            _ => {}
        }
    }
}

/// `0.10000000149011612`, which a schema shows for an f32 of 0.1, as 0.1.
fn shorten_floats(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let wide = number.as_f64().unwrap_or_default();
            let narrow = wide as f32;
            if f64::from(narrow) == wide
                && let Some(short) = narrow.to_string().parse().ok().and_then(number_of)
            {
                *number = short;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(shorten_floats),
        Value::Object(table) => table.values_mut().for_each(shorten_floats),
        _ => {}
    }
}

fn number_of(value: f64) -> Option<serde_json::Number> {
    serde_json::Number::from_f64(value)
}
