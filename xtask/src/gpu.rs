//! `cargo xtask gpu`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cuda_toolkit::STUBS;
use crate::files::{copy, copy_folder, files, pack, size};
use crate::workspace::{cargo, command, hssl, plugins, release, root, run as run_command, target};

/// Pack what a machine with a GPU, a driver and PyTorch needs to check and time the CUDA build: host,
/// plugins, gradient gate, benchmarks and a data set, with one script to run. Neither Rust nor a network
/// is needed there.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs a CUDA toolkit: `cargo xtask cuda-toolkit`, then `. target/cuda-toolkit/env.sh`.

Example:
  cargo xtask gpu
  target/gpu/run.sh --out results               # there
  target/gpu/run.sh --out results gate steps    # parts of it"
)]
pub struct Args {
    /// Where the folder goes; target/gpu without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The set to train on: cifar10-jpeg.tar.gz in this folder; HSSL_DATA without it. Left out if
    /// there is none.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

const SET: &str = "cifar10-jpeg.tar.gz";
/// Host, gate and plugins.
const PROGRAMS: &str = "programs.tar.gz";
/// Bytes of everything.
const MOST: u64 = 64 << 20;

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(folder) => std::path::absolute(folder)?,
        None => target().join("gpu"),
    };
    if std::env::var_os("CUDA_HOME").is_none() {
        bail!(
            "CUDA_HOME is not set; `cargo xtask cuda-toolkit` sets a toolkit up, and \
             `. target/cuda-toolkit/env.sh` names it"
        );
    }
    run_command(cargo().args(["build", "--release", "--workspace", "--features", "hssl/cuda"]))?;
    let gate = gate()?;
    compile_kernels(&gate)?;
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    copy(&hssl(), &out.join("bin"))?;
    for plugin in plugins()? {
        copy(&release().join(&plugin.library), &out.join("lib/hssl/plugins"))?;
    }
    copy(&gate, &out.join("bin"))?;
    let named = out.join("bin").join(gate.file_name().context("the gate has a name")?);
    let gate = out.join("bin/gate");
    fs::rename(&named, &gate).with_context(|| format!("cannot rename {}", named.display()))?;
    compress(&out)?;
    for folder in ["benches/cases", "benches/peers", "configs"] {
        copy_folder(&root().join(folder), &out.join(folder))?;
    }
    copy(&root().join("benches/ops.toml"), &out.join("benches"))?;
    copy_folder(&root().join("benches/gpu"), &out)?;
    let data = args.data.clone().or_else(|| std::env::var_os("HSSL_DATA").map(PathBuf::from));
    let set = data.map(|folder| folder.join(SET)).filter(|file| file.exists());
    match &set {
        Some(file) => copy(file, &out.join("data"))?,
        None => eprintln!("{SET} was not found: its part of the script will say so"),
    }
    show(&out)
}

/// Builds the tensor runtime's tests, the gradient gate among them, and says where they are.
fn gate() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--release", "--no-run", "--message-format=json", "--lib"]);
    // Alone: the tests of the whole workspace would take long to optimise, for nothing.
    build.args(["--package", "hssl-tensor", "--features", "hssl-tensor/cuda"]);
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.context("cannot start cargo test")?;
    if !output.status.success() {
        bail!("cargo test --no-run: {}", output.status);
    }
    executable(&String::from_utf8(output.stdout)?, "hssl_tensor")
        .context("cargo named no test program of hssl-tensor")
}

/// Compiles our own CUDA kernels as a machine with a GPU would, so that an error in them is seen here.
fn compile_kernels(gate: &Path) -> Result<()> {
    let home = PathBuf::from(std::env::var_os("CUDA_HOME").context("CUDA_HOME was set")?);
    let stubs = home.join(STUBS);
    if !stubs.join("libcuda.so.1").exists() {
        eprintln!(
            "skipped: compiling the CUDA kernels; {} has no driver to start with",
            stubs.display()
        );
        return Ok(());
    }
    let libraries = std::env::join_paths([home.join("lib"), stubs])?;
    run_command(command(gate).arg("every_file_of_kernels").env("LD_LIBRARY_PATH", libraries))
}

/// The program that Cargo's messages name for a crate's tests.
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Puts programs and plugins, without their symbols, into one archive, which run.sh unpacks.
fn compress(out: &Path) -> Result<()> {
    let folders = ["bin", "lib"];
    for folder in folders {
        for file in files(&out.join(folder))? {
            run_command(command("strip").arg(&file))?;
            println!("{:>8.1} MiB  {}", mib(size(&file)?), file.display());
        }
    }
    pack(&out.join(PROGRAMS), &folders.map(|folder| (out.join(folder), folder)))?;
    for folder in folders.map(|folder| out.join(folder)) {
        let failed = || format!("cannot remove {}", folder.display());
        fs::remove_dir_all(&folder).with_context(failed)?;
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What was packed, and how large it is; refuses more than a machine is sent.
fn show(out: &Path) -> Result<()> {
    for part in [PROGRAMS, "benches", "configs", "data"] {
        let path = out.join(part);
        if path.exists() {
            println!("{:>8.1} MiB  {part}", mib(size(&path)?));
        }
    }
    let all = size(out)?;
    println!("{:>8.1} MiB  {}", mib(all), out.display());
    if all > MOST {
        bail!(
            "{} takes more than the {:.0} MiB that it may; --data with a folder that has no {SET} leaves \
             the images out",
            out.display(),
            mib(MOST)
        );
    }
    println!("run there: {} --out results", out.join("run.sh").display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_found_among_the_messages() {
        let messages = "not json\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"hssl_tensor\"},\"executable\":null}\n\
            {\"target\":{\"name\":\"hssl_engine\"},\"executable\":\"/t/engine-1\"}\n\
            {\"target\":{\"name\":\"hssl_tensor\"},\"executable\":\"/t/tensor-2\"}\n";
        assert_eq!(executable(messages, "hssl_tensor"), Some("/t/tensor-2".into()));
        assert_eq!(executable(messages, "hssl_ops"), None);
    }
}
