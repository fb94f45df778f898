//! Plugins that others may write are not loaded.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hssl_engine::plugin::{Registry, SearchPath};
use hssl_plugin_api::component::Kind;

use crate::fixtures::{Folder, says};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(registry: &Registry, parts: &[&str]) {
    assert_eq!(registry.refused().len(), 1, "{:?}", registry.refused());
    says(&registry.refused()[0].error, parts);
    says(registry.component(Kind::Head, "minimal").unwrap_err(), parts);
}

#[test]
fn a_file_that_everyone_may_write() {
    let folder = Folder::new().with(&["minimal"]);
    let file = folder.file("minimal");
    set_mode(&file, 0o646);
    let fix = format!("chmod o-w {}", file.canonicalize().unwrap().display());
    refused(&folder.registry(), &["the file", "mode 0646", "o+w", &fix]);
    set_mode(&file, 0o644);
    folder.registry().component(Kind::Head, "minimal").expect("the fix helps");
}

#[test]
fn a_folder_that_everyone_may_write() {
    let folder = Folder::new().with(&["minimal"]);
    let fix = format!("chmod o-w {}", folder.path().canonicalize().unwrap().display());
    for mode in [0o777, 0o1777] {
        set_mode(folder.path(), mode);
        refused(&folder.registry(), &["its folder", "o+w", &fix]);
    }
    set_mode(folder.path(), 0o755);
    folder.registry().component(Kind::Head, "minimal").expect("the fix helps");
}

#[test]
fn a_folder_above_that_everyone_may_write() {
    let above = Folder::new();
    let plugins = above.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let bytes = std::fs::read(crate::fixtures::built("minimal")).unwrap();
    std::fs::write(plugins.join(above.file("minimal").file_name().unwrap()), bytes).unwrap();
    let registry = || Registry::discover(&SearchPath::only([&plugins]));
    set_mode(above.path(), 0o777);
    refused(&registry(), &["the folder", "mode 0777", "o+w"]);
    set_mode(above.path(), 0o1777);
    registry().component(Kind::Head, "minimal").expect("in a sticky folder only owners rename");
}

#[test]
fn a_link_out_of_a_folder_that_everyone_may_write() {
    let real = Folder::new().with(&["minimal"]);
    let links = Folder::new();
    std::os::unix::fs::symlink(real.file("minimal"), links.file("minimal")).unwrap();
    links.registry().component(Kind::Head, "minimal").expect("links are followed");
    set_mode(links.path(), 0o777);
    let fix = format!("chmod o-w {}", links.path().canonicalize().unwrap().display());
    refused(&links.registry(), &["its folder", &fix]);
}

#[test]
fn a_file_that_becomes_writable_after_it_was_found() {
    let folder = Folder::new().with(&["minimal"]);
    let registry = folder.registry();
    set_mode(&folder.file("minimal"), 0o666);
    says(registry.component(Kind::Head, "minimal").unwrap_err(), &["not trusted", "o+w"]);
}
