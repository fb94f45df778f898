//! How operations of the current thread behave: recording, training, precision.
//!
//! Modes are per thread and scoped: a component is called by one thread at a time, and what the
//! engine set for that call ends with it.

use std::cell::Cell;

/// The settings of the current scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Keep what a gradient needs. Off, intermediates are freed at once.
    pub recording: bool,
    /// Dropout and drop-path act, batch norm uses the batch's statistics.
    pub training: bool,
    /// GEMM-class operations take f32 operands as bf16; norms, softmax and losses stay in f32.
    pub autocast: bool,
    /// Blocks that plugins mark are computed again for the gradient instead of being kept.
    pub checkpoint_blocks: bool,
    /// Compute by candle's operations even where a kernel of ours exists (what other devices do).
    pub portable: bool,
}

thread_local! {
    static MODE: Cell<Mode> = const {
        Cell::new(Mode {
            recording: true,
            training: false,
            autocast: false,
            checkpoint_blocks: false,
            portable: false,
        })
    };
}

/// The current thread's mode.
pub fn current() -> Mode {
    MODE.get()
}

/// Runs `body` in `mode`; the former mode comes back even if `body` panics.
pub fn scope<T>(mode: Mode, body: impl FnOnce() -> T) -> T {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(mode));
    body()
}

/// Runs `body` without recording.
pub fn no_grad<T>(body: impl FnOnce() -> T) -> T {
    scope(Mode { recording: false, ..current() }, body)
}
