//! `--set KEY=VALUE`.

use serde_json::{Map, Value};

use super::layer::Layer;
use super::{Error, Origin, Result};

/// The layer of all `--set` options, in their order.
pub(super) fn layer(settings: &[String]) -> Result<Layer> {
    let mut layer = Layer::new(Map::new(), Origin::Set);
    for text in settings {
        let bad = |found: &str| Error::Setting { text: text.clone(), found: found.into() };
        let (key, raw) = text.split_once('=').ok_or_else(|| bad("there is no `=`"))?;
        let key = key.trim();
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(bad("the key has an empty part"));
        }
        layer.assign(key, value(raw), Origin::Set);
    }
    Ok(layer)
}

/// The values of `KEY=VALUE` texts, as a tree.
///
/// # Errors
/// A text has no `=`, or an empty key.
pub fn settings(texts: &[String]) -> Result<Map<String, Value>> {
    Ok(layer(texts)?.values)
}

/// What is TOML is that; anything else is a string.
pub(super) fn value(text: &str) -> Value {
    let text = text.trim();
    let parsed = toml::from_str::<Map<String, Value>>(&format!("value = {text}"));
    match parsed {
        // A second key would come from a line break in the text.
        Ok(mut table) if table.len() == 1 => {
            table.remove("value").unwrap_or_else(|| Value::String(text.into()))
        }
        _ => Value::String(text.into()),
    }
}
