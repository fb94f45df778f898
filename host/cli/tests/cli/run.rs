//! Training, evaluation and what lies between, in small.

use crate::harness::{Desk, TINY};

#[test]
fn a_run_is_trained_evaluated_and_embedded() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let said = desk.hssl("pretrain c.toml --out run").good();
    assert!(said.err.contains("run folder: run"), "{said:#?}");
    said.says(&["hssl eval run"]);
    assert!(desk.path("run/backbone.safetensors").is_file());

    desk.hssl("pretrain c.toml --out run").refused(&["there is a run here already", "--resume"]);
    desk.hssl("pretrain run").refused(&["run is a run", "--resume"]);

    let told = desk.hssl("eval run --evaluator knn --untrained").good().says(&["RUN", "knn"]);
    let is_row = |line: &&str| line.starts_with("run") && !line.contains(" knn: ");
    let rows: Vec<&str> = told.out.lines().filter(is_row).collect();
    assert_eq!(rows.len(), 2, "{told:#?}");
    let results = std::fs::read_to_string(desk.path("run/results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results.as_array().unwrap().len(), 2, "{results}");

    // What is there is taken as it is, until it is asked for anew.
    let mut marked = results.clone();
    marked[1]["metrics"]["top1@20"] = serde_json::json!(99.5);
    desk.write("run/results.json", marked.to_string());
    let first = |line: &str| desk.hssl(line).good().json()[0]["metrics"]["top1@20"].clone();
    assert_eq!(first("eval run --evaluator knn --json"), 99.5);
    let recomputed = first("eval run --evaluator knn --json --again");
    assert_eq!(recomputed, results[1]["metrics"]["top1@20"]);

    desk.hssl("embed run --data generated:shapes?n=5&size=8 --tokens --out f.safetensors").good();
    let bytes = std::fs::read(desk.path("f.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!(header["features"]["shape"], serde_json::json!([5, 16]));
    assert_eq!(header["labels"]["shape"], serde_json::json!([5]));
    assert_eq!(header["tokens"]["shape"], serde_json::json!([5, 4, 16]));
}

#[test]
fn a_resumed_run_keeps_its_configuration() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.hssl("pretrain c.toml --out run --set train.lr=0.125").good();
    // The file is not what the run was started with.
    desk.hssl("pretrain c.toml --out run --resume --set train.epochs=2").good();
    let stored = std::fs::read_to_string(desk.path("run/config.toml")).unwrap();
    assert!(stored.contains("lr = 0.125"), "{stored}");
    assert!(stored.contains("epochs = 2"), "{stored}");
}

/// Ctrl-C in the middle of a long run.
#[cfg(unix)]
#[test]
fn a_signal_stops_saves_and_says_how_to_resume() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let line = ["pretrain", "c.toml", "--out", "run", "--set", "train.epochs=100000"];
    let mut program = desk.command(&line);
    let mut program = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(program.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("step 1/") {
        assert!(said.read_line(&mut text).unwrap() > 0, "it ended before its first step: {text}");
    }
    let kill = Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(kill.success());
    // Standard error is read to its end, so that the program can write all of it.
    said.read_to_string(&mut text).unwrap();
    let mut told = String::new();
    program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130), "{text}");
    assert!(told.contains("resume with: hssl pretrain run --resume"), "{told}");
    assert!(desk.path("run/checkpoints/last").is_dir());
}

#[test]
fn a_set_that_gives_no_batch_is_refused_before_anything_is_written() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.write("empty/class/.keep", "");
    for (set, words) in [
        ("train.batch_size=33", &["33", "32 images", "lower"][..]),
        ("data.train=imagefolder:empty", &["empty"]),
        ("data.train=imagefolder:nowhere", &["nowhere", "does not exist"]),
    ] {
        desk.hssl(&format!("pretrain c.toml --out run --set {set}")).refused(words);
        assert!(!desk.path("run").exists());
    }
}

#[test]
fn a_step_is_laid_open_and_can_be_repeated_from_its_file() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let first = desk.hssl("step c.toml --dump a.safetensors").good().out;
    // Neither images nor seed matter where inputs and parameters come from a file.
    let sets = "--set train.seed=1 --set data.train=imagefolder:nowhere";
    let again = desk.hssl(&format!("step c.toml --load a.safetensors --dump b.safetensors {sets}"));
    let loss =
        |text: &str| text.split("loss ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(loss(&again.good().out), loss(&first));
}

#[test]
fn a_benchmark_is_one_line_of_json() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let said = desk.hssl("bench c.toml --steps 2 --warmup 1 --json").good();
    assert_eq!(said.out.lines().count(), 1);
    let found = said.json();
    for key in ["images_per_s", "step_ms", "peak_mb", "threads"] {
        assert!(found[key].as_f64().unwrap() > 0.0, "{key} in {found}");
    }
    assert_eq!(found["precision"], "f32");
}

#[test]
fn targets_that_cannot_be_evaluated_say_why() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.write("loose.safetensors", "");
    desk.hssl("eval nowhere").refused(&["nowhere does not exist"]);
    desk.hssl("eval loose.safetensors").refused(&["lies in no run", "--config"]);
    desk.hssl("eval c.toml --config c.toml --evaluator knm").refused(&["knm", "knn"]);
}
