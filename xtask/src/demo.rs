//! `cargo xtask demo`.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace::{self, command, program, root, target};

/// Build, pre-train the quick configuration on generated images, and show what it learned: kNN and
/// linear probe of the trained base beside the untrained one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Change a value of the configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Runs it.
pub fn run(args: &Args) -> Result<()> {
    let hssl = program()?;
    let started = Instant::now();
    let folder = target().join("demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the last demo, {}", folder.display()))?;
    }
    let mut train = command(&hssl);
    train.arg("pretrain").arg(root().join("configs/quick.toml")).arg("--out").arg(&folder);
    for set in &args.sets {
        train.args(["--set", set]);
    }
    workspace::run(&mut train)?;
    let mut evaluate = command(&hssl);
    evaluate.arg("eval").arg(&folder).arg("--untrained");
    evaluate.arg("--suite").arg(root().join("configs/suites/quick.toml"));
    workspace::run(&mut evaluate)?;
    eprintln!(
        "{} seconds after the build; the run is {}",
        started.elapsed().as_secs(),
        folder.display()
    );
    Ok(())
}
