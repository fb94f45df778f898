//! Asking for components.

use hssl_engine::plugin::{Registry, SearchPath};
use hssl_plugin_api::component::Kind;

use crate::fixtures::{Folder, patched, says};

#[test]
fn a_component_is_found_by_kind_and_name_and_tells_of_itself() {
    let folder = Folder::new().with(&["minimal", "panics"]);
    let registry = folder.registry();
    assert!(registry.used().is_empty(), "looking loads nothing");

    let backbone = registry.component(Kind::Backbone, "minimal").unwrap();
    let head = registry.component(Kind::Head, "minimal").unwrap();
    assert_eq!((backbone.index, head.index), (0, 1));
    assert_eq!(backbone.manifest.description, "One patch embedding");
    assert_eq!(head.manifest.config["properties"]["mlp_ratio"]["default"], 2);

    let used = registry.used();
    assert_eq!(used.len(), 1, "the other plugin was not asked for: {used:?}");
    assert_eq!((used[0].name.as_str(), used[0].version.as_str()), ("minimal", "0.1.0"));
    assert_eq!(used[0].file, folder.file("minimal").file_name().unwrap().to_str().unwrap());
    assert_eq!(used[0].sha256.len(), 64);
}

#[test]
fn two_plugins_of_one_interface_keep_their_own_components() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let registry = folder.registry();
    let ours = registry.component(Kind::Backbone, "minimal").unwrap();
    let theirs = registry.component(Kind::Head, "identity").unwrap();
    assert_eq!(ours.plugin.descriptor.name, "minimal");
    assert_eq!(theirs.plugin.descriptor.name, "twin");
    assert_eq!(theirs.manifest.description, "Hands its input on");
}

#[test]
fn what_is_on_offer_is_known_without_loading() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let registry = folder.registry();
    let offers: Vec<String> = registry
        .offers()
        .map(|offer| format!("{} {} by {}", offer.kind, offer.name, offer.plugin.name))
        .collect();
    assert_eq!(
        offers,
        [
            "backbone minimal by minimal",
            "head minimal by minimal",
            "head minimal by twin",
            "head identity by twin"
        ]
    );
    assert!(registry.used().is_empty());
}

#[test]
fn a_misspelt_name_gets_the_nearest_one_and_the_list() {
    let folder = Folder::new().with(&["minimal", "panics", "twin"]);
    let registry = folder.registry();
    let error = registry.component(Kind::Head, "minmal").unwrap_err();
    says(
        error,
        &["the head `minmal`: did you mean `minimal`?", "identity, minimal, panics_in_new"],
    );
}

#[test]
fn a_kind_that_nobody_offers_says_where_plugins_were_looked_for() {
    let folder = Folder::new().with(&["minimal"]);
    let error = folder.registry().component(Kind::Objective, "dino").unwrap_err();
    let place = folder.path().to_str().unwrap();
    says(error, &["There is no objective at all", place, "--plugin-dir"]);
}

#[test]
fn a_component_of_two_plugins_is_refused_with_both_files() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let registry = folder.registry();
    let error = registry.component(Kind::Head, "minimal").unwrap_err();
    let files = ["minimal", "twin"].map(|name| folder.file(name).display().to_string());
    says(&error, &[&files[0], &files[1], "remove one"]);
    assert!(registry.used().is_empty(), "neither was loaded");
    registry.component(Kind::Head, "identity").expect("what only one offers is not in dispute");
}

#[test]
fn a_missing_component_names_the_refused_file_that_offers_it() {
    let folder = Folder::new().with(&["twin"]);
    folder.put("old", &patched("interface", "2.0"));
    folder.put("note", b"not a library");
    let error = folder.registry().component(Kind::Backbone, "minimal").unwrap_err();
    let (old, note) = (folder.file("old"), folder.file("note"));
    says(
        error,
        &[
            &format!("{} offers it but is refused", old.display()),
            "2.0",
            &format!("{} is refused, whatever it offers", note.display()),
        ],
    );
}

#[test]
fn a_file_can_be_named_instead_of_its_folder() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let registry = Registry::discover(&SearchPath::only([folder.file("minimal")]));
    let head = registry.component(Kind::Head, "minimal").unwrap();
    assert_eq!(head.plugin.descriptor.name, "minimal");
}

#[test]
fn a_plugin_that_changes_between_looking_and_loading_is_not_loaded() {
    let folder = Folder::new().with(&["minimal"]);
    let registry = folder.registry();
    folder.put("minimal", &patched("version", "0.9"));
    let error = registry.component(Kind::Head, "minimal").unwrap_err();
    says(error, &["changed while hssl was running"]);
}
