//! `cargo xtask test`.

use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::workspace::{cargo, has_cargo, root, run as run_command, target};

/// Every check that CI has, cheapest first; ends with the test runner's summary.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these, in this order.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting.
    Fmt,
    /// Lints; a warning is an error.
    Clippy,
    /// Licences, bans and sources of dependencies (needs cargo-deny).
    Deny,
    /// The API's documentation builds without warnings.
    Doc,
    /// The CUDA build type-checks; no toolkit is needed, for a script stands in for its compiler.
    Cuda,
    /// Plugins and host, so that tests can load the one into the other.
    Build,
    /// Examples in documentation.
    Doctest,
    /// All tests: cargo-nextest if it is there, cargo test otherwise.
    Test,
}

/// Runs them.
pub fn run(args: &Args) -> Result<()> {
    let all = Step::value_variants();
    let steps = if args.steps.is_empty() { all } else { &args.steps };
    for step in steps {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned());
        let name = name.unwrap_or_default();
        step.run().with_context(|| format!("the check `cargo xtask test {name}` failed"))?;
    }
    Ok(())
}

impl Step {
    fn run(self) -> Result<()> {
        if self == Self::Deny && !has_cargo("deny") {
            eprintln!(
                "skipped: licences, bans and sources of dependencies; `cargo install --locked cargo-deny` \
                 to check them"
            );
            return Ok(());
        }
        if self == Self::Cuda && cfg!(not(unix)) {
            eprintln!("skipped: the CUDA build; what stands in for its compiler is a shell script");
            return Ok(());
        }
        run_command(&mut self.command())
    }

    fn command(self) -> Command {
        let mut cargo = cargo();
        match self {
            Self::Fmt => cargo.args(["fmt", "--all", "--check"]),
            Self::Clippy => {
                cargo.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
            }
            // Not `advisories`: their database is fetched from a Git server, and checks that fail with
            // the network tell nothing about the change at hand.
            Self::Deny => cargo.args(["deny", "check", "bans", "licenses", "sources"]),
            Self::Doc => {
                cargo.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps"])
            }
            Self::Cuda => check_cuda(&mut cargo),
            Self::Build => cargo.args(["build", "--workspace"]),
            Self::Doctest => cargo.args(["test", "--workspace", "--doc"]),
            Self::Test if has_cargo("nextest") => {
                cargo.args(["nextest", "run", "--workspace", "--no-fail-fast"])
            }
            // All but the doc tests, which have been run.
            Self::Test => cargo.args([
                "test",
                "--workspace",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ]),
        };
        cargo
    }
}

/// `cargo check` of the CUDA build. In a target folder of its own: the kernels that the stand-in makes are
/// empty, and must not be found by a build that is meant to run. Nothing of it runs, so nothing is
/// optimised.
fn check_cuda(cargo: &mut Command) -> &mut Command {
    cargo.args(["check", "--workspace", "--features", "hssl/cuda", "--target-dir"]);
    cargo.arg(target().join("cuda-check"));
    for part in ["\"*\"", "hssl-tensor", "hssl-datasets"] {
        cargo.args(["--config", &format!("profile.dev.package.{part}.opt-level=0")]);
    }
    cargo.env("NVCC", root().join(".ci/nvcc"));
    cargo.env("CUDA_COMPUTE_CAP", "80").env("CUDARC_CUDA_VERSION", "13000")
}
