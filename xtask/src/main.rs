//! Chores of this workspace: `cargo xtask --help`.

mod bench;
mod cuda_toolkit;
mod demo;
mod dist;
mod files;
mod gpu;
mod parity;
mod python;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the hssl workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Demo(demo::Args),
    Test(test::Args),
    Parity(parity::Args),
    Bench(bench::Args),
    Dist(dist::Args),
    CudaToolkit(cuda_toolkit::Args),
    Gpu(gpu::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Parity(args) => parity::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::CudaToolkit(args) => cuda_toolkit::run(&args),
        Task::Gpu(args) => gpu::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
