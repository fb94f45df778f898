//! `cargo xtask cuda-toolkit`: what a build with `--features cuda` needs, where no toolkit is installed.
//!
//! NVIDIA publishes compiler, headers and libraries as Python wheels; what they lack of a toolkit is
//! made here: names that linkers look for, and a driver to link against.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace::{cargo, command, root, run as run_command, target};

/// The compiler and what candle links. One minor version for all: headers and compiler check each other.
const WHEELS: &[&str] = &[
    "nvidia-cuda-nvcc==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
    "nvidia-cuda-crt==13.0.*",
    "nvidia-nvvm==13.0.*",
    "nvidia-cuda-cccl==13.0.*",
    "nvidia-cublas==13.0.*",
    "nvidia-cuda-nvrtc==13.0.*",
    "nvidia-curand",
];

/// Set up a CUDA toolkit from NVIDIA's Python wheels, to build with --features cuda where there is no
/// nvcc. Needs python3 with venv, a C compiler, and a package index.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  cargo xtask cuda-toolkit
  . target/cuda-toolkit/env.sh
  cargo build --release --workspace --features hssl/cuda")]
pub struct Args {
    /// Where it goes; target/cuda-toolkit without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The compute capability that candle's kernels are compiled for: 80 (A100), 89 (L4), 90 (H100) ...
    #[arg(long, value_name = "CC", default_value_t = 90)]
    compute_cap: u32,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(folder) => std::path::absolute(folder)?,
        None => target().join("cuda-toolkit"),
    };
    let environment = out.join("venv");
    if !environment.join("bin/pip").exists() {
        run_command(command("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let mut install = command(environment.join("bin/pip"));
    run_command(install.args(["install", "--quiet"]).args(WHEELS))?;
    let home = toolkit(&environment)?;
    link_names(&home)?;
    driver(&home)?;
    let script = out.join("env.sh");
    write(&script, &environment_script(&home, args.compute_cap))?;
    run_command(command(home.join("bin/nvcc")).arg("--version"))?;
    println!("a toolkit for CUDA 13.0: {}", home.display());
    println!("to build with it: . {}", script.display());
    Ok(())
}

/// The toolkit's root inside a virtual environment.
fn toolkit(environment: &Path) -> Result<PathBuf> {
    let lib = environment.join("lib");
    let folders = lib.read_dir().with_context(|| format!("cannot list {}", lib.display()))?;
    for python in folders {
        let home = python?.path().join("site-packages/nvidia/cu13");
        if home.join("bin/nvcc").exists() {
            return Ok(home);
        }
    }
    bail!("the wheels laid no nvidia/cu13/bin/nvcc below {}", lib.display())
}

/// `lib64`, and for each `libX.so.N` the `libX.so` that `-lX` looks for.
fn link_names(home: &Path) -> Result<()> {
    let lib = home.join("lib");
    link("lib", &home.join("lib64"))?;
    for file in lib.read_dir().with_context(|| format!("cannot list {}", lib.display()))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if let Some((stem, _)) = name.split_once(".so.") {
            link(&name, &lib.join(format!("{stem}.so")))?;
        }
    }
    Ok(())
}

fn link(to: &str, at: &Path) -> Result<()> {
    if at.symlink_metadata().is_ok() {
        return Ok(());
    }
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(to, at);
    #[cfg(not(unix))]
    let made = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::Unsupported));
    made.with_context(|| format!("cannot link {} to {to}", at.display()))
}

/// A library of the driver's name with its functions, none of which does anything: programs link
/// against it here, and find the real one where there is a GPU. Those that are to start without one find
/// it in [`STUBS`].
fn driver(home: &Path) -> Result<()> {
    let bindings = cudarc()?.join("src/driver/sys/mod.rs");
    let text = fs::read_to_string(&bindings)
        .with_context(|| format!("cannot read {}", bindings.display()))?;
    let names = functions(&text);
    if names.is_empty() {
        bail!("{} names no function of the driver", bindings.display());
    }
    let mut source = String::new();
    for name in names {
        // 34: CUDA_ERROR_STUB_LIBRARY.
        writeln!(source, "int {name}(void) {{ return 34; }}").expect("writing to a string");
    }
    let file = home.join("libcuda.c");
    write(&file, &source)?;
    let mut compiler = command("cc");
    compiler.args(["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"]);
    run_command(compiler.arg(home.join("lib/libcuda.so")).arg(&file))?;
    let stubs = home.join(STUBS);
    fs::create_dir_all(&stubs).with_context(|| format!("cannot create {}", stubs.display()))?;
    link("../libcuda.so", &stubs.join("libcuda.so.1"))
}

/// Where programs find the stand-in of the driver, below the toolkit's root.
pub const STUBS: &str = "lib/stubs";

/// The functions of the driver that bindings declare.
fn functions(bindings: &str) -> BTreeSet<&str> {
    let after = bindings.split("fn cu").skip(1);
    after
        .filter_map(|rest| {
            let start = rest.as_ptr() as usize - bindings.as_ptr() as usize - 2;
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            Some(&bindings[start..start + 2 + end])
        })
        .collect()
}

/// The sources of the cudarc that this workspace's lock file names.
fn cudarc() -> Result<PathBuf> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--features", "hssl/cuda", "--locked"]);
    let output = metadata.output().context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let found: Value = serde_json::from_slice(&output.stdout).context("cargo metadata's output")?;
    let packages = found["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "cudarc")
        .find_map(|package| package["manifest_path"].as_str());
    let manifest = manifest.context("cudarc is no dependency with --features hssl/cuda")?;
    Ok(Path::new(manifest).parent().unwrap_or(root()).to_owned())
}

fn environment_script(home: &Path, compute_cap: u32) -> String {
    let home = home.display();
    format!(
        "export CUDA_HOME='{home}'\nexport PATH=\"$CUDA_HOME/bin:$PATH\"\n\
         export LIBRARY_PATH=\"$CUDA_HOME/lib${{LIBRARY_PATH:+:$LIBRARY_PATH}}\"\n\
         export CUDA_COMPUTE_CAP={compute_cap}\n"
    )
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_from_bindings() {
        let bindings = "pub type CUhostFn = unsafe extern \"C\" fn(x: u8);\n\
                        pub fn cuInit(Flags: c_uint) -> CUresult;\n    fn cuMemAlloc_v2(x: u8);\n\
                        pub unsafe fn cuInit(Flags: c_uint) -> CUresult {";
        assert_eq!(
            functions(bindings).into_iter().collect::<Vec<_>>(),
            ["cuInit", "cuMemAlloc_v2"]
        );
    }

    #[test]
    fn the_script_names_the_toolkit() {
        let script = environment_script(Path::new("/kit/cu13"), 80);
        assert!(script.contains("CUDA_HOME='/kit/cu13'"), "{script}");
        assert!(script.ends_with("CUDA_COMPUTE_CAP=80\n"), "{script}");
    }
}
