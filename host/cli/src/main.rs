//! The command line of hssl.

mod command;
mod session;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::{bench, embed, eval, pretrain, step};
use tracing_subscriber::EnvFilter;

/// Large buffers that go back to the system between steps cost page faults; mimalloc keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compose, pre-train and compare self-supervised vision models.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Look for plugins here (and in HSSL_PLUGIN_PATH and the installation's folder).
    #[arg(long, global = true, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
    /// Look for known data sets here (default: HSSL_DATA).
    #[arg(long, global = true, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Refuse plugins that are not in plugins.lock.
    #[arg(long, global = true)]
    pub locked: bool,
    /// Say more; twice: much more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what goes wrong.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pretrain(pretrain::Args),
    Eval(eval::Args),
    Embed(embed::Args),
    Step(step::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.global);
    let result = match &cli.command {
        Command::Pretrain(args) => pretrain::run(args, &cli.global),
        Command::Eval(args) => eval::run(args, &cli.global),
        Command::Embed(args) => embed::run(args, &cli.global),
        Command::Step(args) => step::run(args, &cli.global),
        Command::Bench(args) => bench::run(args, &cli.global),
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn start_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("HSSL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
