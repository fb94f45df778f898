//! From layers to a checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::component::{Named, fill_defaults, named};
use super::layer::{self, Layer, Merged, at};
use super::{
    Error, Origin, Problem, Recipes, Result, RunConfig, check, document, environment, file,
    setting, validate,
};

/// The sections in the order in which people read them.
const SECTIONS: [&str; 9] =
    ["backbone", "heads", "objective", "hssl", "data", "views", "train", "eval", "out"];

/// A complete configuration that can be run.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The values.
    pub config: RunConfig,
    /// Where each came from, by dotted key.
    pub origins: BTreeMap<String, Origin>,
    /// The folder of the configuration file. Relative paths in it are absolute here already.
    pub base_dir: PathBuf,
    /// What is probably not as meant.
    pub warnings: Vec<Problem>,
    values: Map<String, Value>,
}

impl Resolved {
    /// Where the value at a dotted key came from; for a table, where its first value did.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        layer::origin(&self.origins, key)
    }

    /// The value at a dotted key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        at(&self.values, key)
    }

    /// Every value that is not a table, with its dotted key and origin, section by section, the
    /// name of a component before its options.
    pub fn entries(&self) -> Vec<(String, &Value, &Origin)> {
        let mut entries: Vec<_> = self
            .origins
            .iter()
            .filter_map(|(key, origin)| Some((key.clone(), self.value(key)?, origin)))
            .collect();
        entries.sort_by_cached_key(|(key, ..)| {
            let section = key.split('.').next().unwrap_or_default();
            let place = SECTIONS.iter().position(|known| *known == section);
            let (table, last) = key.rsplit_once('.').unwrap_or(("", key));
            (place.unwrap_or(SECTIONS.len()), table.to_owned(), last != "plugin", last.to_owned())
        });
        entries
    }

    /// The complete configuration as TOML; [`from_toml`] reads it back.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn to_toml(&self) -> Result<String> {
        let mut values = Value::Object(self.values.clone());
        drop_nulls(&mut values);
        Ok(toml::to_string(&values)?)
    }
}

/// What a configuration is resolved from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The lowest of the user's layers.
    pub base: Base<'a>,
    /// A file with a table for each evaluation; they replace those below.
    pub suite: Option<&'a Path>,
    /// `--set` options.
    pub sets: &'a [String],
}

/// The lowest of the user's layers.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// A configuration file; `HSSL_*` variables lie on top of it and of the suite.
    File(&'a Path),
    /// A run's own `config.toml`, as [`Resolved::to_toml`] wrote it. Its values stand as they are;
    /// only keys that it lacks, because they are newer than the run, get their defaults.
    Stored {
        /// The file's text.
        text: &'a str,
        /// The run's folder.
        folder: &'a Path,
    },
}

/// Resolves the file at `path`, this process's `HSSL_*` variables and the `--set` options `sets`.
///
/// # Errors
/// [`Error::Invalid`] with every problem of the values, and one error for a file or an option that
/// cannot be read.
pub fn load(path: &Path, sets: &[String], recipes: &dyn Recipes) -> Result<Resolved> {
    resolve(&Sources { base: Base::File(path), suite: None, sets }, recipes)
}

/// Reads a run's own configuration back, with `sets` on top; see [`Base::Stored`].
///
/// # Errors
/// As [`load`].
pub fn from_toml(
    text: &str,
    folder: &Path,
    sets: &[String],
    recipes: &dyn Recipes,
) -> Result<Resolved> {
    resolve(&Sources { base: Base::Stored { text, folder }, suite: None, sets }, recipes)
}

/// Resolves any sources.
///
/// # Errors
/// As [`load`].
pub fn resolve(sources: &Sources<'_>, recipes: &dyn Recipes) -> Result<Resolved> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    resolve_with(sources, variables, recipes)
}

/// [`resolve`] with other environment variables.
pub(super) fn resolve_with(
    sources: &Sources<'_>,
    variables: impl IntoIterator<Item = (String, String)>,
    recipes: &dyn Recipes,
) -> Result<Resolved> {
    // What is typed in a shell starts at the shell's folder.
    let here = std::env::current_dir().unwrap_or_default();
    let mut layers = match sources.base {
        Base::File(path) => file::layers(path)?,
        Base::Stored { text, folder } => {
            let (mut stored, _) = file::parse(text, &folder.join("config.toml"), folder)?;
            // Components that defaults or recipe have gained since are not this run's.
            stored.clear_components();
            vec![stored]
        }
    };
    if let Some(suite) = sources.suite {
        layers.push(file::suite(suite)?);
    }
    let base_dir = match sources.base {
        Base::File(path) => {
            let mut typed = environment::layer(variables)?;
            typed.start_paths_at(&here);
            layers.push(typed);
            here.join(path.parent().unwrap_or(Path::new("")))
        }
        Base::Stored { folder, .. } => folder.to_owned(),
    };
    let mut typed = setting::layer(sources.sets)?;
    typed.start_paths_at(&here);
    layers.push(typed);
    compose(layers, &base_dir, recipes)
}

fn compose(layers: Vec<Layer>, base_dir: &Path, recipes: &dyn Recipes) -> Result<Resolved> {
    let mut problems = Vec::new();
    let mut below = vec![defaults()];
    let users = Merged::of(&layers);
    if let Some(objective) = users.values.get("objective").and_then(|o| o.get("plugin"))
        && let Some(objective) = objective.as_str()
        // An unknown objective is told of with the other components.
        && let Ok(Value::Object(recipe)) = recipes.recipe(objective)
    {
        push_recipe(recipe, objective, &layers, &mut below);
    }
    let mut merged = Merged::of(below.iter().chain(&layers));
    let components = named(&merged, recipes, &mut problems);
    problems.extend(shape_problems(&merged.values, &components));
    if problems.iter().any(Problem::is_error) {
        return Err(invalid(problems, &merged));
    }
    for component in &components {
        fill_defaults(component, &mut merged);
    }
    let shortened = fit_warmup(&mut merged);
    let config: RunConfig = match serde_json::from_value(Value::Object(merged.values.clone())) {
        Ok(config) => config,
        Err(error) => {
            let problem = Problem::error("configuration", error.to_string());
            return Err(invalid(vec![problem], &merged));
        }
    };
    problems.extend(check(&config));
    problems.extend(shortened);
    if problems.iter().any(Problem::is_error) {
        return Err(invalid(problems, &merged));
    }
    attach_origins(&mut problems, &merged);
    let (base_dir, warnings) = (base_dir.to_owned(), problems);
    Ok(Resolved { config, origins: merged.origins, base_dir, warnings, values: merged.values })
}

/// Lays a recipe on top of `below`, with what it has for runs with heads (`with_heads`) if this is one.
fn push_recipe(
    mut recipe: Map<String, Value>,
    objective: &str,
    above: &[Layer],
    below: &mut Vec<Layer>,
) {
    let origin = || Origin::Recipe(objective.to_owned());
    let with_heads = recipe.remove("with_heads");
    below.push(Layer::new(recipe, origin()));
    let merged = Merged::of(below.iter().chain(above));
    let plain = at(&merged.values, "hssl.supervision").and_then(Value::as_str) == Some("none");
    if let (Some(Value::Object(recipe)), false) = (with_heads, plain) {
        below.push(Layer::new(recipe, origin()));
    }
}

fn defaults() -> Layer {
    let values = toml::from_str(include_str!("defaults.toml")).expect("defaults.toml is TOML");
    Layer::new(values, Origin::Default)
}

/// Unknown keys, wrong types and missing values, in the whole document.
fn shape_problems(values: &Map<String, Value>, components: &[Named]) -> Vec<Problem> {
    let root = document::run();
    let mut problems = validate::check(&root, &root, "", &Value::Object(values.clone()), &[]);
    for component in components {
        let Some(Value::Object(section)) = at(values, &component.key) else { continue };
        let section = Value::Object(section.clone());
        let (schema, key) = (&component.schema, &component.key);
        let mut found = validate::check(schema, schema, key, &section, layer::host_keys(key));
        if found.is_empty()
            && let Value::Object(mut options) = section
        {
            options.retain(|name, _| !layer::host_keys(key).contains(&name.as_str()));
            found = validate::leftovers(schema, key, &Value::Object(options));
        }
        problems.extend(found);
    }
    problems
}

/// Shortens a warm-up that is longer than the whole training, where the length of the training was
/// said in a layer above the warm-up's: who asks for one epoch on top of a recipe means it.
fn fit_warmup(merged: &mut Merged) -> Option<Problem> {
    let number = |key| at(&merged.values, key).and_then(Value::as_u64);
    let (warmup, epochs) = (number("train.warmup_epochs")?, number("train.epochs")?);
    let origin = merged.origins.get("train.warmup_epochs")?.clone();
    let outranked = merged.origins.get("train.epochs")?.outranks(&origin);
    if epochs == 0 || warmup <= epochs || !outranked {
        return None;
    }
    merged.fill("train.warmup_epochs", Value::from(epochs), origin);
    let message = format!("was lowered from {warmup} to {epochs}, the number of epochs");
    Some(Problem::warning("train.warmup_epochs", message))
}

fn invalid(mut problems: Vec<Problem>, merged: &Merged) -> Error {
    attach_origins(&mut problems, merged);
    // In the order in which a user reads the file.
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    Error::Invalid(problems)
}

fn attach_origins(problems: &mut [Problem], merged: &Merged) {
    for problem in problems {
        // `edges[0].teacher` lies in the value `edges`.
        let key = problem.key.split('[').next().unwrap_or_default();
        problem.origin = layer::origin(&merged.origins, key).cloned();
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
