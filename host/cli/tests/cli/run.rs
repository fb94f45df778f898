//! Training, evaluation and what lies between, in small.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Desk, TINY};

/// The tensors of a safetensors file.
fn tensors(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

/// Ctrl-C.
#[cfg(unix)]
fn interrupt(program: u32) {
    let kill = std::process::Command::new("kill").args(["-INT", &program.to_string()]).status();
    assert!(kill.unwrap().success());
}

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
    let results: Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results.as_array().unwrap().len(), 2, "{results}");

    // What is there is taken as it is, until it is asked for anew.
    let mut marked = results.clone();
    marked[1]["metrics"]["top1@20"] = json!(99.5);
    desk.write("run/results.json", marked.to_string());
    let first = |line: &str| desk.hssl(line).good().json()[0]["metrics"]["top1@20"].clone();
    assert_eq!(first("eval run --evaluator knn --json"), 99.5);
    let again = desk.hssl("eval ./run --evaluator knn --json").good().json();
    assert_eq!(again[0]["target"], "./run");
    assert_eq!(again[0]["metrics"]["top1@20"], 99.5);
    for set in ["backbone.num_heads=4", "views.mean=[0.5,0.5,0.5]"] {
        assert_ne!(first(&format!("eval run --evaluator knn --json --set {set}")), 99.5, "{set}");
    }
    let recomputed = first("eval run --evaluator knn --json --again");
    assert_eq!(recomputed, results[1]["metrics"]["top1@20"]);

    desk.hssl("embed run --data generated:shapes?n=5&size=8 --tokens --out f.safetensors").good();
    let embedded = tensors(&desk.path("f.safetensors"));
    assert_eq!(embedded["features"]["shape"], json!([5, 16]));
    assert_eq!(embedded["labels"]["shape"], json!([5]));
    assert_eq!(embedded["tokens"]["shape"], json!([5, 4, 16]));

    // Targets that fail do not hide the others.
    desk.write("loose.safetensors", "");
    let said = desk.hssl("eval nowhere loose.safetensors run --config c.toml --evaluator knn");
    said.refused(&["nowhere does not exist", "evaluating loose.safetensors"]).says(&["\nrun "]);
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
    desk.hssl("pretrain c.toml --resume").refused(&["--resume", "c.toml", "--out DIR"]);
    assert!(!desk.path("runs").exists());
}

#[test]
fn an_attempt_without_a_checkpoint_is_repaired_in_the_file() {
    let desk = Desk::new();
    for number in 0..8 {
        desk.write(&format!("broken/{number}.png"), "no image");
    }
    desk.write("c.toml", TINY.replace("generated:shapes?n=32&size=8#train", "images:broken"));
    desk.hssl("pretrain c.toml --out run").refused(&["8 images", "broken"]);
    assert!(desk.path("run/config.toml").is_file());
    desk.write("c.toml", TINY);
    desk.hssl("pretrain c.toml --out run --resume").good();
}

/// Ctrl-C in the middle of a long run.
#[cfg(unix)]
#[test]
fn a_signal_stops_saves_and_says_how_to_resume() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

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
    interrupt(program.id());
    // Standard error is read to its end, so that the program can write all of it.
    said.read_to_string(&mut text).unwrap();
    let mut told = String::new();
    program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(program.wait().unwrap().code(), Some(130), "{text}");
    assert!(told.contains("resume with: hssl pretrain run --resume"), "{told}");
    assert!(desk.path("run/checkpoints/last").is_dir());
}

#[cfg(unix)]
#[test]
fn a_signal_stops_embedding_before_anything_is_written() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let desk = Desk::new();
    desk.write("c.toml", TINY);
    desk.hssl("pretrain c.toml --out run").good();
    desk.hssl("data make shapes --n 10 --size 8 --split train").good();
    // One of the images is a pipe.
    let mut discs = std::fs::read_dir(desk.path("shapes/train/disc")).unwrap();
    let image = discs.next().unwrap().unwrap().path();
    let bytes = std::fs::read(&image).unwrap();
    std::fs::remove_file(&image).unwrap();
    assert!(Command::new("mkfifo").arg(&image).status().unwrap().success());

    let line = ["embed", "run", "--data", "images:shapes/train", "--out", "f.safetensors"];
    let mut program = desk.command(&line);
    let program = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = program.id();
    let writer = std::thread::spawn(move || {
        // The pipe opens when the program reads its images: then it listens.
        let mut pipe = std::fs::OpenOptions::new().write(true).open(image).unwrap();
        interrupt(id);
        pipe.write_all(&bytes).unwrap();
    });
    let output = program.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    assert!(!desk.path("f.safetensors").exists());
    writer.join().unwrap();
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
    // A file that brings inputs brings all of them: one without local crops has none.
    let sets = "--set views.local_crops_number=2 --set views.local_crops_size=8";
    let line = format!("step c.toml --load a.safetensors --dump c.safetensors {sets}");
    assert_eq!(loss(&desk.hssl(&line).good().out), loss(&first));
    assert!(tensors(&desk.path("c.safetensors"))["input.local"].is_null());
}

#[test]
fn a_step_is_counted_as_in_training() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let sets = "--set train.accum_iter=2 --set train.epochs=2 --set train.log_every=1";
    desk.hssl(&format!("pretrain c.toml --out run {sets}")).good();
    let metrics = std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap();
    let third: Value = serde_json::from_str(metrics.lines().nth(2).unwrap()).unwrap();
    let lr = third["lr"].as_f64().unwrap();
    let said = desk.hssl(&format!("step c.toml --at 2 --dump a.safetensors {sets}")).good();
    said.says(&[&format!("lr {lr:.3e},")]);
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
fn a_benchmark_times_loading_alone() {
    let desk = Desk::new();
    desk.write("c.toml", TINY);
    let found = desk.hssl("bench c.toml --loading --steps 4 --warmup 1 --json").good().json();
    for key in ["images_per_s", "views", "peak_mb", "peak_mb_half", "threads"] {
        assert!(found[key].as_f64().unwrap() > 0.0, "{key} in {found}");
    }
}

#[test]
fn a_benchmark_times_operations() {
    let desk = Desk::new();
    desk.write(
        "ops.toml",
        "[[op]]\nname = \"small GELU\"\nop = \"gelu\"\nshapes = [[2, 8]]\n\n\
         [[op]]\nname = \"another\"\nop = \"softmax\"\nshapes = [[2, 8]]\n",
    );
    let said = desk.hssl("bench --ops ops.toml --only GELU --precision f32").good();
    assert!(!said.out.contains("another"), "{}", said.out);
    said.says(&["small GELU", "forward", "both"]);
    desk.hssl("bench --ops ops.toml --only nothing").refused(&["nothing", "small GELU"]);
    desk.write("bad.toml", "[[op]]\nname = \"x\"\nop = \"gelo\"\nshapes = [[2]]\n");
    desk.hssl("bench --ops bad.toml").refused(&["bad.toml", "gelo", "gelu"]);
    desk.write("fit.toml", "[[op]]\nname = \"x\"\nop = \"linear\"\nshapes = [[2, 3]]\n");
    desk.hssl("bench --ops fit.toml").refused(&["x: Linear takes 3 inputs", "found 1"]);
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
