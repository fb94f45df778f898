//! `hssl plugin new`: a plugin's Cargo project that works as it is.
//!
//! The templates are Rust files with the names `my_plugin` and `MyPlugin`. They are also compiled as
//! they are, as the packages `tests/plugins/template-*`, and pass `hssl plugin check`.

use std::path::{Path, PathBuf};

use hssl_plugin_api::component::Kind;

/// Why no project was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaffoldError {
    /// The name is no name of a plugin.
    #[error(
        "{name:?} is no plugin name: {found}; expected a lower-case letter, then lower-case letters, \
         digits and underscores, for example `my_head`"
    )]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        found: String,
    },
    /// The project's folder is there already.
    #[error("{path} exists already; choose another name, or remove it", path = .path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The given `hssl-plugin-api` is not one.
    #[error(
        "{path} is not the folder of hssl-plugin-api: it has no Cargo.toml of that package; it is \
         `plugin-api` in hssl's source tree", path = .path.display()
    )]
    Api {
        /// The folder.
        path: PathBuf,
    },
    /// No `hssl-plugin-api` was given, and none was found.
    #[error(
        "hssl-plugin-api is not published, and its source was not found above {searched}; name its \
         folder with --api FOLDER: it is `plugin-api` in hssl's source tree"
    )]
    NoApi {
        /// Where it was looked for.
        searched: String,
    },
    /// The operating system refused a write.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

const MANIFEST: &str = include_str!("templates/Cargo.toml.template");

const fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Backbone => include_str!("templates/backbone.rs"),
        Kind::Head => include_str!("templates/head.rs"),
        Kind::Objective => include_str!("templates/objective.rs"),
        Kind::Evaluator => include_str!("templates/evaluator.rs"),
    }
}

/// Makes the project `NAME` inside `folder` and returns its folder. `api` is the folder of
/// hssl-plugin-api's source; without it, the one of the source tree that the executable or the
/// working folder lies in.
///
/// # Errors
/// The name is no plugin name, the project's folder exists or cannot be written, or there is no
/// hssl-plugin-api.
pub fn scaffold(
    folder: &Path,
    name: &str,
    kind: Kind,
    api: Option<&Path>,
) -> Result<PathBuf, ScaffoldError> {
    check_name(name, source(kind))?;
    let project = folder.join(name);
    if project.exists() {
        return Err(ScaffoldError::Exists { path: project });
    }
    let api = match api {
        Some(path) => path
            .canonicalize()
            .ok()
            .filter(|path| is_api(path))
            .ok_or_else(|| ScaffoldError::Api { path: path.to_owned() })?,
        None => {
            let executable = std::env::current_exe().and_then(std::fs::canonicalize);
            let places = [executable, std::env::current_dir()];
            find_api(&places.into_iter().flatten().collect::<Vec<_>>())?
        }
    };
    let api = toml::Value::String(api.display().to_string());
    let manifest = MANIFEST.replace("@API@", &format!("path = {api}"));
    for (file, template) in [
        ("Cargo.toml", manifest.as_str()),
        ("src/lib.rs", source(kind)),
        (".gitignore", "/target\n"),
    ] {
        let path = project.join(file);
        let failed = |source| ScaffoldError::Io { path: path.clone(), source };
        let parent = path.parent().unwrap_or(&project);
        std::fs::create_dir_all(parent).map_err(failed)?;
        let failed = |source| ScaffoldError::Io { path: path.clone(), source };
        std::fs::write(&path, named(template, name)).map_err(failed)?;
    }
    Ok(project)
}

/// The hssl-plugin-api of the source tree that one of `places` lies in.
fn find_api(places: &[PathBuf]) -> Result<PathBuf, ScaffoldError> {
    places
        .iter()
        .flat_map(|place| place.ancestors())
        .map(|folder| folder.join("plugin-api"))
        .find(|folder| is_api(folder))
        .ok_or_else(|| {
            let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            ScaffoldError::NoApi { searched: places.join(" and ") }
        })
}

/// Whether a folder is that of the package hssl-plugin-api.
fn is_api(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let name = manifest.get("package").and_then(|package| package.get("name"));
    name.and_then(toml::Value::as_str) == Some("hssl-plugin-api")
}

/// A template under a plugin's own name.
fn named(template: &str, name: &str) -> String {
    template.replace("my_plugin", name).replace("MyPlugin", &type_name(name))
}

/// `tiny_vit` to `TinyVit`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('_').map(capital).collect()
}

/// Words that Rust or Cargo keeps for itself.
const RESERVED: [&str; 20] = [
    "as",
    "async",
    "build",
    "const",
    "core",
    "crate",
    "deps",
    "dyn",
    "else",
    "enum",
    "extern",
    "fn",
    "impl",
    "mod",
    "proc_macro",
    "self",
    "std",
    "super",
    "test",
    "type",
];

fn check_name(name: &str, template: &str) -> Result<(), ScaffoldError> {
    let wrong = |found: String| Err(ScaffoldError::Name { name: name.to_owned(), found });
    match name.chars().next() {
        None => return wrong("it is empty".into()),
        Some(first) if !first.is_ascii_lowercase() => {
            return wrong(format!("it starts with {first:?}"));
        }
        Some(_) => {}
    }
    let stray = |c: &char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_');
    if let Some(stray) = name.chars().find(stray) {
        return wrong(format!("it holds {stray:?}"));
    }
    if RESERVED.contains(&name) {
        return wrong("Rust keeps the word for itself".into());
    }
    let type_name = type_name(name);
    let mut words = template.split(|c: char| !c.is_alphanumeric() && c != '_');
    if words.any(|word| word == type_name) {
        return wrong(format!("its type would be {type_name}, which the interface uses"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_carries_its_name_and_no_trace_of_the_template() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, name) in [
            (Kind::Backbone, "tiny_vit"),
            (Kind::Head, "mixer"),
            (Kind::Objective, "byol2"),
            (Kind::Evaluator, "nearest_mean"),
        ] {
            let project = scaffold(folder.path(), name, kind, None).unwrap();
            let manifest: toml::Table =
                std::fs::read_to_string(project.join("Cargo.toml")).unwrap().parse().unwrap();
            assert_eq!(manifest["package"]["name"].as_str(), Some(name));
            let api = manifest["dependencies"]["hssl-plugin-api"]["path"].as_str().unwrap();
            assert!(is_api(api.as_ref()), "{api}: the tests run in the source tree");
            let source = std::fs::read_to_string(project.join("src/lib.rs")).unwrap();
            assert!(source.contains(&format!("{kind} \"{name}\": ")), "{source}");
            assert!(!source.to_lowercase().contains("my_plugin") && !source.contains("MyPlugin"));
        }
    }

    #[test]
    fn the_type_is_named_after_the_plugin() {
        assert_eq!(
            named("struct MyPlugin; // my_plugin", "tiny_vit"),
            "struct TinyVit; // tiny_vit"
        );
    }

    #[test]
    fn bad_names_and_taken_folders_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        for (name, fault) in [
            ("", "empty"),
            ("Vit", "'V'"),
            ("a-b", "'-'"),
            ("../x", "'.'"),
            ("fn", "Rust"),
            ("head", "Head"),
        ] {
            let error = scaffold(folder.path(), name, Kind::Head, None).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        scaffold(folder.path(), "mixer", Kind::Head, None).unwrap();
        let error = scaffold(folder.path(), "mixer", Kind::Head, None).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
    }

    #[test]
    fn a_local_api_is_named_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api");
        let project = scaffold(folder.path(), "mixer", Kind::Head, Some(&api)).unwrap();
        let manifest: toml::Table =
            std::fs::read_to_string(project.join("Cargo.toml")).unwrap().parse().unwrap();
        let path = manifest["dependencies"]["hssl-plugin-api"]["path"].as_str().unwrap();
        assert!(Path::new(path).is_absolute() && Path::new(path).ends_with("plugin-api"));
        for other in [folder.path(), &project] {
            let error = scaffold(folder.path(), "other", Kind::Head, Some(other)).unwrap_err();
            assert!(error.to_string().contains("not the folder of hssl-plugin-api"), "{error}");
        }
    }

    #[test]
    fn the_api_of_the_source_tree_is_found_or_asked_for() {
        let tree = tempfile::tempdir().unwrap();
        let (api, inside) = (tree.path().join("plugin-api"), tree.path().join("target/debug"));
        for folder in [&api, &inside] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let places = [PathBuf::from("/nowhere/bin/hssl"), inside];
        let name = |name: &str| format!("[package]\nname = \"{name}\"\n");
        std::fs::write(api.join("Cargo.toml"), name("another")).unwrap();
        let error = find_api(&places).unwrap_err().to_string();
        assert!(error.contains("/nowhere/bin/hssl") && error.contains("--api FOLDER"), "{error}");
        std::fs::write(api.join("Cargo.toml"), name("hssl-plugin-api")).unwrap();
        assert_eq!(find_api(&places).unwrap(), api);
    }
}
