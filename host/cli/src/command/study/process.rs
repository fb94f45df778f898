//! The processes of a study, which are told to stop when the study is.

use std::collections::BTreeSet;
use std::io;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Starts processes and passes SIGINT and SIGTERM on to them, as SIGTERM: after the first a run saves
/// and ends, after the second it ends at once.
///
/// They are process groups of their own, or Ctrl-C on a terminal would reach them twice.
#[derive(Clone, Default)]
pub struct Processes(Arc<State>);

#[derive(Default)]
struct State {
    stopped: AtomicBool,
    running: Mutex<BTreeSet<u32>>,
}

impl Processes {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn listen() -> io::Result<Self> {
        let processes = Self::default();
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGINT, SIGTERM};
            let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
            let listening = processes.clone();
            std::thread::spawn(move || {
                for _ in signals.forever() {
                    listening.0.stopped.store(true, Ordering::SeqCst);
                    listening.running().iter().for_each(|id| terminate(*id));
                }
            });
        }
        Ok(processes)
    }

    /// Whether the study is to end.
    pub fn stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It cannot be started or waited for.
    pub fn run(&self, command: &mut Command) -> io::Result<Output> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn()?;
        let id = child.id();
        self.running().insert(id);
        // What came before the process was known has not reached it.
        if self.stopped() {
            terminate(id);
        }
        let output = child.wait_with_output();
        self.running().remove(&id);
        output
    }

    fn running(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
fn terminate(id: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(id, Signal::TERM);
    }
}

/// A console passes Ctrl-C on by itself.
#[cfg(not(unix))]
fn terminate(_: u32) {}
