//! `HSSL_SECTION__KEY` variables.

use serde_json::Map;

use super::layer::Layer;
use super::{Error, Origin, Result, setting};

const PREFIX: &str = "HSSL_";

/// The layer of the variables among `variables` that name a key: those with a double underscore,
/// `HSSL_HEADS` and `HSSL_OUT`. Any other `HSSL_` name (`HSSL_DATA`, `HSSL_PLUGIN_PATH`, ...) is not
/// the configuration's.
pub(super) fn layer(variables: impl IntoIterator<Item = (String, String)>) -> Result<Layer> {
    let mut named: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| {
            name.strip_prefix(PREFIX)
                .is_some_and(|key| key.contains("__") || key == "HEADS" || key == "OUT")
        })
        .collect();
    // A table before the keys in it, whatever the order of the environment.
    named.sort();
    let mut layer = Layer::new(Map::new(), Origin::Environment(format!("{PREFIX}*")));
    for (name, text) in named {
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        if key.split('.').any(str::is_empty) {
            let found = "its name has an empty part".into();
            return Err(Error::Environment { variable: name, found });
        }
        layer.assign(&key, setting::value(&text), Origin::Environment(name));
    }
    Ok(layer)
}
