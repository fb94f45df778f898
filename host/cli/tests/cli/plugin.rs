//! `hssl plugin`

use crate::harness::{Desk, TINY, plugin};

#[test]
fn the_list_names_every_component() {
    let desk = Desk::new();
    let text = desk.hssl("plugin list").good();
    text.says(&["backbone", "vit", "head", "convnext", "objective", "dino", "evaluator", "knn"]);
    let found = desk.hssl("plugin list --json").good().json();
    assert_eq!(found["components"].as_array().unwrap().len(), 7, "{found}");
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
    // The first of the list by name.
    let changed = plugin("convnext").display().to_string();
    desk.hssl(&format!("plugin check {changed} --locked")).refused(&["beef"]);
    desk.hssl(&format!("plugin check {changed}")).good();
}

#[test]
fn a_lock_tells_what_it_leaves_out() {
    let desk = Desk::new();
    let broken = format!("more/broken{}", std::env::consts::DLL_SUFFIX);
    desk.write(&broken, "no library");
    let said = desk.hssl("plugin lock --plugin-dir more").good().says(&["5 plugins"]);
    assert!(said.err.contains("warning: left out: ") && said.err.contains(&broken), "{said:#?}");
}

#[test]
fn a_run_keeps_the_lock_that_it_was_started_with() {
    let desk = Desk::new();
    desk.write("configs/c.toml", TINY);
    desk.hssl("plugin lock --out configs/plugins.lock").good();
    desk.hssl("pretrain configs/c.toml --out runs/a --locked").good();
    let lines = [
        "pretrain runs/a --resume --locked",
        "pretrain configs/c.toml --out runs/a --resume --locked",
        "eval runs/a --evaluator knn --locked",
        "embed runs/a --data generated:shapes?n=5&size=8 --out f.safetensors --locked",
    ];
    for line in lines {
        desk.hssl(line).good();
    }
    // A run that has none, and what belongs to no configuration, is held against the one here.
    std::fs::remove_file(desk.path("runs/a/plugins.lock")).unwrap();
    for line in [lines[2], lines[3], "config schema --locked"] {
        desk.hssl(line).refused(&["there is no ", "plugins.lock", "hssl plugin lock --out "]);
    }
    desk.hssl("plugin lock").good();
    for line in [lines[2], lines[3], "config schema --locked"] {
        desk.hssl(line).good();
    }
}

#[test]
fn check_tries_the_promises_of_every_component() {
    let desk = Desk::new();
    for name in ["vit", "convnext", "dino", "knn", "linear"] {
        let file = plugin(name).display().to_string();
        let mut line = format!("plugin check {file}");
        if name == "vit" {
            line += " --only backbone:vit --set img_size=32 --set embed_dim=16 --set num_heads=2";
        }
        if name == "convnext" {
            line += " --only head:convnext";
        }
        let said = desk.hssl(&line).good().says(&[name, "kept    it is made with"]);
        assert!(said.err.contains(" 0 broken"), "{said:#?}");
    }
    let vit = plugin("vit").display().to_string();
    desk.hssl(&format!("plugin check {vit} --only knn")).refused(&["knn", "backbone vit"]);
    desk.write("text.so", "no library");
    desk.hssl("plugin check text.so").refused(&["text.so", "not a shared library"]);
    let wrong = desk.hssl(&format!("plugin check {vit} --set depth=none"));
    assert_eq!(wrong.code, Some(1));
    wrong.says(&["broken", "depth"]);
}

#[test]
fn new_makes_a_project_once() {
    let desk = Desk::new();
    // Wherever Cargo builds to, the program finds one above it or above this folder.
    desk.write("plugin-api/Cargo.toml", "[package]\nname = \"hssl-plugin-api\"\n");
    let said = desk.hssl("plugin new my_head --kind head").good().says(&["my_head"]);
    assert!(said.err.contains("cargo build --release"), "{said:#?}");
    let source = std::fs::read_to_string(desk.path("my_head/src/lib.rs")).unwrap();
    assert!(source.contains("head \"my_head\": MyHead"), "{source}");
    let manifest = std::fs::read_to_string(desk.path("my_head/Cargo.toml")).unwrap();
    assert!(manifest.contains("hssl-plugin-api = { path = "), "{manifest}");
    desk.hssl("plugin new my_head --kind head").refused(&["my_head exists already"]);
    desk.hssl("plugin new My-Head --kind head").refused(&["My-Head", "lower-case"]);
    let elsewhere = "plugin new other --kind head --api my_head";
    desk.hssl(elsewhere).refused(&["my_head is not the folder of hssl-plugin-api"]);
    assert_eq!(desk.hssl("plugin new my_head").code, Some(2));
}
