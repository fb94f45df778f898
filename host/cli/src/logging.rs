//! The log, on standard error, above the progress bars.

use std::io::Write;

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::options::Global;

/// The variable that chooses what is logged, as in `HSSL_LOG=hssl_engine=debug`.
const VARIABLE: &str = "HSSL_LOG";

/// Starts the log of this process.
pub fn start(global: &Global, bars: &MultiProgress) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn,hssl_engine=info,plugin=info",
        (_, 1) => "info,hssl_engine=debug,hssl_datasets=debug,plugin=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Above(bars.clone()))
        .with_ansi(colour)
        .with_target(global.verbose > 0);
    if global.verbose > 0 { subscriber.init() } else { subscriber.without_time().init() }
}

/// Writes above the progress bars instead of through them.
struct Above(MultiProgress);

struct Line {
    bars: MultiProgress,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Above {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { bars: self.0.clone(), text: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let text = std::mem::take(&mut self.text);
        self.bars.suspend(|| std::io::stderr().write_all(&text))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A log that cannot be written has nowhere to say so.
        let _ = self.flush();
    }
}
