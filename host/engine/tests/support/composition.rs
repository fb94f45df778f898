//! Plugins and configurations.

use std::error::Error;
use std::path::Path;

use hssl_engine::component::Kind;
use hssl_engine::config::{self, Recipes, RunConfig};
use hssl_engine::plugin::{Registry, SearchPath};
use serde_json::Value;

/// Plugins that Cargo built for these tests.
pub fn registry(names: &[&str]) -> Registry {
    let test = std::env::current_exe().unwrap();
    let library = |name: &str| {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        test.with_file_name(format!("{prefix}hssl_plugin_{name}{suffix}"))
    };
    Registry::discover(&SearchPath::only(names.iter().map(|name| library(name))))
}

struct FromPlugins<'a>(&'a Registry);

type Found = Result<Value, Box<dyn Error + Send + Sync>>;

impl Recipes for FromPlugins<'_> {
    fn recipe(&self, objective: &str) -> Found {
        Ok(self.0.component(Kind::Objective, objective)?.manifest.recipe.clone())
    }

    fn schema(&self, kind: Kind, name: &str) -> Found {
        Ok(self.0.component(kind, name)?.manifest.config.clone())
    }
}

/// A complete configuration from TOML, with `KEY=VALUE` settings on top.
pub fn configuration(text: &str, sets: &[&str], registry: &Registry) -> RunConfig {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    match config::from_toml(text, folder, &sets, &FromPlugins(registry)) {
        Ok(resolved) => resolved.config,
        Err(error) => panic!("{error}"),
    }
}
