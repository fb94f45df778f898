//! The import directions that the architecture promises, read from the workspace's manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A workspace package.
#[derive(Debug)]
struct Package {
    name: String,
    folder: PathBuf,
    /// What it is built with; what only its tests need is not part of it.
    imports: BTreeSet<String>,
    crate_types: BTreeSet<String>,
    library: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn workspace() -> Vec<Package> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let dependencies = value["dependencies"].as_array().unwrap();
    let library = value["targets"].as_array().unwrap().iter().find(|target| {
        let kinds = target["kind"].as_array().unwrap();
        kinds.iter().any(|kind| ["lib", "rlib", "cdylib"].contains(&kind.as_str().unwrap()))
    });
    let crate_types = library.map(|target| target["crate_types"].as_array().unwrap().as_slice());
    Package {
        name: text(&value["name"]),
        folder: Path::new(&text(&value["manifest_path"])).parent().unwrap().to_owned(),
        imports: dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| text(&dependency["name"]))
            .collect(),
        crate_types: crate_types.unwrap_or_default().iter().map(text).collect(),
        library: library.map(|target| text(&target["name"])),
    }
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// Packages in `plugins/` and in `tests/plugins/`.
fn is_plugin(package: &Package) -> bool {
    package.folder.parent().is_some_and(|folder| folder.ends_with("plugins"))
}

/// cli -> engine -> {tensor, datasets, plugin-api}, and each of these knows nothing of the others.
#[test]
fn our_crates_import_one_way() {
    let allowed = BTreeMap::from([
        ("hssl-ops", set([])),
        ("hssl-plugin-api", set(["hssl-ops"])),
        ("hssl-tensor", set(["hssl-ops"])),
        ("hssl-datasets", set([])),
        ("hssl-engine", set(["hssl-ops", "hssl-plugin-api", "hssl-tensor", "hssl-datasets"])),
        ("hssl", set(["hssl-engine", "hssl-plugin-api", "hssl-tensor", "hssl-datasets"])),
        ("hssl-test-emulator", set([])),
        ("xtask", set([])),
    ]);
    let packages = workspace();
    let ours: BTreeSet<String> = packages.iter().map(|package| package.name.clone()).collect();
    for package in packages.iter().filter(|package| !is_plugin(package)) {
        let imports: BTreeSet<String> = package.imports.intersection(&ours).cloned().collect();
        let allowed = allowed.get(package.name.as_str()).unwrap_or_else(|| {
            panic!("{} has no place in this table: give it one, and ARCHITECTURE.md", package.name)
        });
        let forbidden: Vec<_> = imports.difference(allowed).collect();
        assert!(forbidden.is_empty(), "{} may not import {forbidden:?}", package.name);
    }
}

/// What a plugin links is what its author sees, so that it needs no GPU toolkit and outlives hosts.
#[test]
fn plugins_link_the_plugin_api_and_no_more() {
    let allowed = set(["hssl-plugin-api", "schemars", "serde", "serde_json"]);
    let packages = workspace();
    let plugins: Vec<_> = packages.iter().filter(|package| is_plugin(package)).collect();
    assert!(plugins.iter().any(|package| package.name == "hssl-plugin-vit"));
    for package in plugins {
        let foreign: Vec<_> = package.imports.difference(&allowed).collect();
        assert!(foreign.is_empty(), "{} may not import {foreign:?}", package.name);
        assert!(package.crate_types.contains("cdylib"), "{} is no cdylib", package.name);
    }
}

/// A development build finds the plugins beside the executable by their names.
#[test]
fn plugins_are_named_as_the_search_expects() {
    for package in workspace() {
        let library = package.library.clone().unwrap_or_default();
        let in_plugins = package.folder.parent() == Some(root().join("plugins").as_path());
        assert_eq!(in_plugins, library.starts_with("hssl_plugin_") && library != "hssl_plugin_api");
    }
}

/// Libraries that can be replaced because one crate holds each.
#[test]
fn some_libraries_stay_in_one_crate() {
    for (library, owner) in [("abi_stable", "hssl-plugin-api"), ("candle-core", "hssl-tensor")] {
        let users: Vec<String> = workspace()
            .into_iter()
            .filter(|package| package.imports.contains(library))
            .map(|package| package.name)
            .collect();
        assert_eq!(users, [owner], "{library}");
    }
}

/// `abi_stable` is no longer maintained: one file of the plugin API uses it.
#[test]
fn abi_stable_stays_in_one_file() {
    let source = root().join("plugin-api/src");
    let users: Vec<PathBuf> = rust_files(&source)
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().contains("abi_stable::"))
        .map(|file| file.strip_prefix(&source).unwrap().to_owned())
        .collect();
    assert_eq!(users, [Path::new("abi").join("root.rs")]);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
