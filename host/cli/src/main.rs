//! `hssl`: composes a backbone, auxiliary heads and an objective from plugins, trains them, and
//! evaluates what they learned.
//!
//! This crate is thin: arguments in, calls of the engine, words and tables out.

mod allocator;
mod command;
mod logging;
mod options;
mod plot;
mod progress;
mod session;
mod style;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    allocator::keep_buffers();
    let arguments = command::Arguments::parse();
    arguments.global.color.apply();
    let bars = indicatif::MultiProgress::new();
    logging::start(&arguments.global, &bars);
    let session = session::Session::new(arguments.global, bars);
    match arguments.command.run(&session) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            session.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads the output has seen enough (`hssl ... | head`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
