//! `hssl config`

use serde_json::json;

use crate::harness::{Desk, Outcome, TINY, configs};

#[test]
fn every_configuration_of_the_repository_is_right() {
    let desk = Desk::with_all_plugins();
    let mut paths = Vec::new();
    let folders = ["cifar10", "imagenet", "imagenette"].map(|name| configs().join(name));
    for folder in [configs()].into_iter().chain(folders) {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|e| e == "toml")));
    }
    assert!(paths.len() >= 3, "{paths:?}");
    let arguments = ["config", "check"].map(Into::into).into_iter().chain(paths);
    let arguments: Vec<std::path::PathBuf> = arguments.collect();
    Outcome::of(desk.command(&arguments)).good();
}

#[test]
fn every_run_of_every_study_of_the_repository_is_right() {
    let desk = Desk::with_all_plugins();
    let mut folders = vec![configs().join("studies")];
    let mut runs = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = std::fs::read_to_string(&entry).unwrap_or_default();
            if entry.is_dir() {
                folders.push(entry);
            } else if text.contains("[[axes]]") || text.contains("table-") {
                let arguments = ["study".into(), entry, "--dry-run".into()];
                runs += Outcome::of(desk.command(&arguments)).good().out.lines().count();
            }
        }
    }
    // Tables 1, 2, 4, 5 and 16 to 21 alone have 46, and each of them twice.
    assert!(runs > 90, "{runs}");
}

#[test]
fn show_tells_value_and_origin() {
    let desk = Desk::new();
    desk.write("base.toml", "[train]\nmin_lr = 0.25\n");
    desk.write("c.toml", format!("extends = \"base.toml\"\n{TINY}"));
    let mut command = desk.command(&["config", "show", "c.toml", "--set", "train.lr=0.125"]);
    command.env("HSSL_TRAIN__SEED", "7");
    let shown = Outcome::of(command).good().out;
    let line = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} ")));
        line.unwrap_or_else(|| panic!("no {key} in {shown}")).to_owned()
    };
    for (key, value, origin) in [
        ("lr", "0.125", "# --set"),
        ("min_lr", "0.25", "# base.toml:2"),
        ("seed", "7", "# HSSL_TRAIN__SEED"),
        ("batch_size", "8", "# c.toml:"),
        ("clip_grad", "3.0", "# recipe of dino"),
        ("beta2", "0.999", "# default"),
        ("mlp_ratio", "4.0", "# default of vit"),
    ] {
        let line = line(key);
        assert!(line.contains(&format!("= {value} ")), "{line}");
        assert!(line.contains(origin), "{line}");
    }
    desk.hssl("config show c.toml heads.aux").good().says(&["[heads.aux]", "depth"]);
    desk.hssl("config show c.toml tain").refused(&["no key `tain`"]);
}

#[test]
fn shown_toml_is_a_configuration_of_the_same_values() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let first = desk.hssl("config show c.toml --toml --set train.lr=0.125").good().out;
    desk.write("d.toml", &first);
    assert_eq!(desk.hssl("config show d.toml --toml").good().out, first);
}

#[test]
fn bad_configurations_are_refused_with_the_place_and_the_fix() {
    let desk = Desk::new();
    for (change, words) in [
        (
            "[train]\nepochs = 1\nbatchsize = 8",
            &["c.toml:", "`train.batchsize`: unknown key; did you mean `train.batch_size`?"][..],
        ),
        (
            "[train]\nepochs = \"ten\"",
            &["`train.epochs`: is the text \"ten\"; expected a whole number"],
        ),
        (
            "[hssl]\nsupervision = \"none\"\nedges = [{ teacher = \"aux\", student = \"base\" }]",
            &["`hssl.edges`: is given, but hssl.supervision = \"none\"", "\"edges\""],
        ),
        ("[heads.two]\nplugin = \"convnex\"", &["`heads.two.plugin`", "`convnext`"]),
        ("[heads.two]\nplugin = \"convnext\"\ndepht = 1", &["did you mean `heads.two.depth`?"]),
    ] {
        let text = match change.split_once('\n') {
            // TINY has a [train] of its own.
            Some(("[train]", keys)) => {
                TINY.replace("[train]\nepochs = 1\nbatch_size = 8", &format!("[train]\n{keys}"))
            }
            _ => format!("{TINY}\n{change}"),
        };
        desk.write("c.toml", text);
        desk.hssl("config check c.toml").refused(words);
        desk.hssl("pretrain c.toml --out run").refused(words);
        assert!(!desk.path("run").exists(), "a refused run leaves a folder");
    }
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let desk = Desk::new();
    desk.write("bad.toml", "lr = 1");
    desk.write("good.toml", TINY);
    let said = desk.hssl("config check bad.toml good.toml missing.toml");
    said.refused(&["bad.toml: error", "good.toml: ok", "missing.toml", "does not exist"]);
}

#[test]
fn data_is_looked_at_where_asked_for() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.write("empty/readme.txt", "no image");
    desk.hssl("config check c.toml --data").good();
    for (set, words) in [
        ("data.train=imagefolder:nowhere", &["nowhere", "does not exist"][..]),
        ("data.train=images:empty", &["empty", "no image"]),
        ("train.batch_size=33", &["batch size 33", "32 images", "at most 32"]),
        ("data.eval_test=cifar11", &["cifar11", "did you mean `cifar10`?"]),
    ] {
        desk.hssl(&format!("config check c.toml --set {set}")).good();
        desk.hssl(&format!("config check c.toml --data --set {set}")).refused(words);
    }
}

#[test]
fn the_schema_has_the_plugins_options() {
    let desk = Desk::new();
    let schema = desk.hssl("config schema").good().json();
    let backbones = &schema["properties"]["backbone"]["properties"]["plugin"]["enum"];
    assert_eq!(*backbones, json!(["convnext", "vit"]));
    let text = schema.to_string();
    for option in ["patch_size", "first_shortcut", "warmup_teacher_temp", "momentum_teacher"] {
        assert!(text.contains(option), "{option} is missing");
    }
    desk.hssl("config schema --out schema.json").good();
    let written = std::fs::read_to_string(desk.path("schema.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), schema);
}
