//! `cargo xtask dist`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::files::{copy, copy_folder, pack};
use crate::workspace::{
    build_release, command, hssl, plugins, release, root, run as run_command, target,
};

/// Shells that completions are made for.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
/// What is copied beside the programs.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Make a release archive: host, plugins, configurations, licences, completions and manual pages, laid
/// out so that the host finds its plugins wherever it is unpacked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the archive goes.
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    build_release()?;
    let name = format!(
        "hssl-{}-{}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    );
    let stage = target().join("dist").join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    }
    fill(&stage)?;
    let folder = root().join(&args.out);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let archive = folder.join(format!("{name}.tar.gz"));
    pack(&archive, &[(stage.clone(), name.as_str())])?;
    println!("{}", archive.display());
    Ok(())
}

fn fill(stage: &Path) -> Result<()> {
    copy(&hssl(), &stage.join("bin"))?;
    let libraries = stage.join("lib/hssl/plugins");
    for plugin in plugins()? {
        copy(&release().join(&plugin.library), &libraries)?;
    }
    for document in DOCUMENTS {
        copy(&root().join(document), stage)?;
    }
    copy_folder(&root().join("configs"), &stage.join("configs"))?;
    let completions = stage.join("share/completions");
    fs::create_dir_all(&completions)?;
    for shell in SHELLS {
        let made = command(hssl()).args(["completions", shell]).output()?;
        if !made.status.success() {
            bail!("hssl completions {shell}: {}", String::from_utf8_lossy(&made.stderr));
        }
        fs::write(completions.join(format!("hssl.{shell}")), made.stdout)?;
    }
    run_command(command(hssl()).args(["man", "--out"]).arg(stage.join("share/man/man1")))
}
