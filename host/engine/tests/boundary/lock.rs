//! `plugins.lock`.

use hssl_engine::plugin::{Enforcement, LOCK_FILE, PluginLock};
use hssl_plugin_api::component::Kind;

use crate::fixtures::{Folder, patched, says};

/// Writes the lock of a folder's plugins and reads it back.
fn locked(folder: &Folder) -> PluginLock {
    let path = folder.path().join(LOCK_FILE);
    folder.registry().to_lock(&path).unwrap().write().unwrap();
    PluginLock::within(folder.path()).unwrap().expect("it was just written")
}

#[test]
fn the_locked_plugin_is_loaded() {
    let folder = Folder::new().with(&["minimal", "twin"]);
    let lock = locked(&folder);
    let names: Vec<&str> = lock.plugins().iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["minimal", "twin"]);
    let registry = folder.registry().with_lock(lock.clone(), Enforcement::Refuse);
    registry.component(Kind::Backbone, "minimal").unwrap();
    assert_eq!(registry.used()[0].sha256, lock.plugins()[0].sha256);
}

#[test]
fn a_changed_plugin_is_refused_with_both_hashes() {
    let folder = Folder::new().with(&["minimal"]);
    let lock = locked(&folder);
    let before = lock.plugins()[0].sha256.clone();
    folder.put("minimal", &patched("version", "0.9"));
    let after = folder.registry().to_lock("unused").unwrap().plugins()[0].sha256.clone();
    assert_ne!(before, after);

    let registry = folder.registry().with_lock(lock.clone(), Enforcement::Refuse);
    let error = registry.component(Kind::Backbone, "minimal").unwrap_err();
    says(error, &[&before, &after, "0.9", "0.1.0", "hssl plugin lock"]);

    let registry = folder.registry().with_lock(lock, Enforcement::Warn);
    registry.component(Kind::Backbone, "minimal").expect("without --locked it is only a warning");
}

#[test]
fn an_unlisted_plugin_is_refused_with_its_hash() {
    let folder = Folder::new().with(&["twin"]);
    let lock = locked(&folder);
    let folder = folder.with(&["minimal"]);
    let hash = folder.registry().to_lock("unused").unwrap().plugins()[0].sha256.clone();
    let registry = folder.registry().with_lock(lock, Enforcement::Refuse);
    let error = registry.component(Kind::Backbone, "minimal").unwrap_err();
    says(error, &["`minimal` 0.1.0", &hash, "not listed", "it lists twin"]);
}

#[test]
fn two_files_of_one_plugin_cannot_be_locked() {
    let folder = Folder::new().with(&["minimal"]);
    folder.put("copy", &std::fs::read(folder.file("minimal")).unwrap());
    let error = folder.registry().to_lock("unused").unwrap_err();
    let files = ["copy", "minimal"].map(|name| folder.file(name).display().to_string());
    says(error, &[&files[0], &files[1], "remove one"]);
}

#[test]
fn a_malformed_lock_names_file_and_fault() {
    let folder = Folder::new();
    let path = folder.path().join(LOCK_FILE);
    let entry = "[[plugin]]\nname = \"vit\"\nversion = \"1\"\nsha256 = \"00\"\n";
    for (content, fault) in [
        ("[[plugin]]\nname = 1\n".to_owned(), "string"),
        (format!("{entry}colour = \"red\"\n"), "colour"),
        (format!("{entry}{entry}"), "`vit` is listed twice"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = PluginLock::read(&path).unwrap_err();
        says(error, &[path.to_str().unwrap(), fault, "hssl plugin lock"]);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(PluginLock::within(folder.path()).unwrap().is_none());
}

#[test]
fn a_copy_locks_the_same_plugins() {
    let folder = Folder::new().with(&["minimal"]);
    let lock = locked(&folder);
    let run = Folder::new();
    lock.copied_to(run.path()).write().unwrap();
    let copy = PluginLock::within(run.path()).unwrap().expect("it was just written");
    assert_eq!((copy.plugins(), copy.path()), (lock.plugins(), &*run.path().join(LOCK_FILE)));
}
