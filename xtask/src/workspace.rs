//! Where things lie, and how programs are run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where Cargo puts what it builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Where Cargo puts what it builds for release.
pub fn release() -> PathBuf {
    target().join("release")
}

/// The `hssl` of the release build.
pub fn hssl() -> PathBuf {
    release().join(format!("hssl{}", std::env::consts::EXE_SUFFIX))
}

/// A command at the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// `cargo`, the one that runs this task.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether `cargo NAME` is there.
pub fn has_cargo(name: &str) -> bool {
    let mut probe = cargo();
    probe.args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Shows a command, runs it, and demands that it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start: {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// A command as one would type it at the workspace's root.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .enumerate()
        .map(|(place, word)| {
            let path = Path::new(word);
            let path = path.strip_prefix(root()).unwrap_or(path);
            // What runs is cargo, wherever it is installed.
            let path = if place == 0 && path.is_absolute() {
                path.file_name().map_or(path, Path::new)
            } else {
                path
            };
            path.display().to_string()
        })
        .collect();
    words.join(" ")
}

/// A plugin of this workspace.
#[derive(Debug)]
pub struct Plugin {
    /// Its package.
    pub package: String,
    /// The file that it is built into.
    pub library: String,
}

/// The plugins of this workspace, by name.
pub fn plugins() -> Result<Vec<Plugin>> {
    let folder = root().join("plugins");
    let mut plugins = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if !path.join("Cargo.toml").exists() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        plugins.push(Plugin {
            package: format!("hssl-plugin-{name}"),
            library: format!(
                "{}hssl_plugin_{}{}",
                std::env::consts::DLL_PREFIX,
                name.replace('-', "_"),
                std::env::consts::DLL_SUFFIX
            ),
        });
    }
    plugins.sort_by(|a, b| a.package.cmp(&b.package));
    Ok(plugins)
}

/// The program that `HSSL_BIN` names, or else that of this tree, which is built first.
pub fn program() -> Result<PathBuf> {
    match std::env::var_os("HSSL_BIN") {
        Some(named) => Ok(named.into()),
        None => build_release().map(|()| hssl()),
    }
}

/// Builds host and plugins for release. The whole workspace, as the README has it: a choice of packages
/// would choose other features of what they depend on, and build that again.
pub fn build_release() -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace"]))
}
