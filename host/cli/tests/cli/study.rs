//! A grid of runs.

use serde_json::Value;

use crate::harness::{Desk, TINY};

const STUDY: &str = r#"
config = "c.toml"
suite = "suite.toml"
set = { train.log_every = 1 }

[[axes]]
name = "head"
choices = [
    { name = "none", set = { heads = {}, hssl.supervision = "none" } },
    { name = "wide", set = { heads.aux.kernel_size = 4 } },
]
[[axes]]
name = "seed"
key = "train.seed"
values = [0, 1]
"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.write("suite.toml", "[knn]\nplugin = \"knn\"");
    desk.write("study.toml", STUDY);
    desk
}

fn records(desk: &Desk) -> Value {
    let text = std::fs::read_to_string(desk.path("out/study.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_failing_run_is_marked_and_the_rest_goes_on() {
    let desk = desk();
    let none = "none-1  train.log_every=1 heads={} hssl.supervision=\"none\" train.seed=1";
    desk.hssl("study study.toml --dry-run").good().says(&[none, "wide-0"]);
    desk.write("typo.toml", STUDY.replace("kernel_size", "kernel_sise"));
    desk.hssl("study typo.toml --dry-run").refused(&["the run wide-0", "kernel_size"]);

    let said = desk.hssl("study study.toml --out out");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.err.contains("kernel_size 4; expected an odd number"), "{said:#?}");
    let rows: Vec<&str> = said.out.lines().collect();
    assert!(rows[0].starts_with("HEAD") && rows[0].contains("knn"), "{said:#?}");
    assert!(rows[1].starts_with("none") && rows[1].contains('±'), "{said:#?}");
    assert!(rows[2].starts_with("wide") && rows[2].ends_with("0/2, 2 failed"), "{said:#?}");
    let table = std::fs::read_to_string(desk.path("out/table.md")).unwrap();
    assert!(table.starts_with("| HEAD |") && table.contains("2/2"), "{table}");
    let first = records(&desk)["none-0"].clone();

    // What failed is tried again, what is done is kept; other settings need another folder.
    desk.write("study.toml", STUDY.replace("kernel_size = 4", "kernel_size = 3"));
    desk.hssl("study study.toml --out out").refused(&["wide-0", "kernel_size=4", "--out"]);
    std::fs::write(
        desk.path("out/study.json"),
        serde_json::json!({ "none-0": first, "none-1": records(&desk)["none-1"] }).to_string(),
    )
    .unwrap();
    let said = desk.hssl("study study.toml --out out --jobs 2").good();
    assert!(said.err.contains("4 runs, 2 of them done before"), "{said:#?}");
    assert_eq!(records(&desk)["none-0"], first);
    let config = std::fs::read_to_string(desk.path("out/wide-1/config.toml")).unwrap();
    assert!(config.contains("seed = 1") && config.contains("kernel_size = 3"), "{config}");
}

#[test]
#[cfg(unix)]
fn a_stopped_study_goes_on() {
    let desk = desk();
    let long = STUDY.replace("log_every = 1", "epochs = 500").replace("[0, 1]", "[0]");
    desk.write(
        "study.toml",
        long.replace("{ name = \"wide\", set = { heads.aux.kernel_size = 4 } },", ""),
    );
    let mut command = desk.command(&["study", "study.toml", "--out", "out"]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Once it trains.
    let metrics = desk.path("out/none-0/metrics.jsonl");
    while !std::fs::metadata(&metrics).is_ok_and(|file| file.len() > 0) {
        std::thread::yield_now();
    }
    let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("run the same command again"), "{said}");
    assert!(desk.path("out/none-0/checkpoints/last").is_dir(), "{said}");
    assert!(!desk.path("out/none-0/backbone.safetensors").exists());
    assert!(!desk.path("out/study.json").exists(), "what was stopped is not recorded as failed");
}
