//! `hssl plugin`

use crate::harness::{Desk, TINY, plugin};

#[test]
fn the_list_names_every_component() {
    let desk = Desk::new();
    let text = desk.hssl("plugin list").good();
    text.says(&["backbone", "vit", "head", "convnext", "objective", "dino", "evaluator", "knn"]);
    let found = desk.hssl("plugin list --json").good().json();
    assert_eq!(found["components"].as_array().unwrap().len(), 5, "{found}");
}

#[test]
fn inspect_tells_what_a_file_says_and_refuses_what_is_no_plugin() {
    let desk = Desk::new();
    let vit = plugin("vit").display().to_string();
    desk.hssl(&format!("plugin inspect {vit}")).good().says(&[
        "plugin      vit ",
        "component   backbone vit",
        "would be loaded",
        "sha256",
    ]);
    desk.write("text.so", "no library");
    let said = desk.hssl("plugin inspect text.so");
    assert_eq!(said.code, Some(1));
    said.says(&["not a shared library", "refused"]);
    desk.hssl("plugin inspect nowhere.so").refused(&["nowhere.so"]);
}

#[test]
fn a_lock_is_kept_with_locked() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.hssl("config check c.toml --locked").refused(&["plugins.lock", "hssl plugin lock"]);
    desk.hssl("plugin lock").good().says(&["plugins.lock  5 plugins"]);
    desk.hssl("config check c.toml --locked").good();
    let lock = std::fs::read_to_string(desk.path("plugins.lock")).unwrap();
    let hash = lock.find("sha256 = \"").unwrap() + "sha256 = \"".len();
    let mut other = lock.clone();
    other.replace_range(hash..hash + 4, "beef");
    desk.write("plugins.lock", other);
    desk.hssl("config check c.toml --locked").refused(&["beef"]);
}
