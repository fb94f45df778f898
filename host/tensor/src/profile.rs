//! Where the time goes, by operation, forward and backward.
//!
//! Off, an operation pays one relaxed load for it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Device;

/// Which way an operation ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// To its result.
    Forward,
    /// To the gradients of its inputs.
    Backward,
}

/// The time of all calls of one operation in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Number of calls.
    pub calls: usize,
    /// Time in them, less that of operations that they ran themselves.
    pub time: Duration,
}

/// By name and direction.
pub type Profile = BTreeMap<(&'static str, Pass), Spent>;

static ON: AtomicBool = AtomicBool::new(false);
static PROFILE: Mutex<Profile> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Time of the operations that the current one has run.
    static INNER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Measures every operation of the process from now on.
pub fn start() {
    PROFILE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
    ON.store(true, Ordering::Relaxed);
}

/// Ends the measurement, and hands over what it found.
pub fn stop() -> Profile {
    ON.store(false, Ordering::Relaxed);
    std::mem::take(&mut *PROFILE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// Runs an operation. While a measurement runs, waits for the device before and after it.
pub(crate) fn time<T>(
    name: &'static str,
    pass: Pass,
    device: &Device,
    operation: impl FnOnce() -> T,
) -> T {
    if !ON.load(Ordering::Relaxed) {
        return operation();
    }
    // A device that has failed says so in the operation's own result.
    let wait = || drop(device.synchronize());
    wait();
    let before = INNER.replace(Duration::ZERO);
    let start = Instant::now();
    let result = operation();
    wait();
    let whole = start.elapsed();
    let own = whole.saturating_sub(INNER.replace(before + whole));
    let mut profile = PROFILE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let spent = profile.entry((name, pass)).or_default();
    spent.calls += 1;
    spent.time += own;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(millis: u64) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(millis) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn an_operation_counts_without_those_that_it_runs() {
        time("before", Pass::Forward, &Device::Cpu, || spin(1));
        start();
        time("outer", Pass::Backward, &Device::Cpu, || {
            spin(5);
            time("inner", Pass::Forward, &Device::Cpu, || spin(40));
            time("inner", Pass::Forward, &Device::Cpu, || spin(40));
        });
        let profile = stop();
        time("after", Pass::Forward, &Device::Cpu, || spin(1));
        // Other tests of this process may have run operations meanwhile.
        let of = |name, pass| profile.get(&(name, pass)).copied();
        assert_eq!(of("before", Pass::Forward), None);
        let inner = of("inner", Pass::Forward).unwrap();
        let outer = of("outer", Pass::Backward).unwrap();
        assert_eq!((inner.calls, outer.calls), (2, 1));
        assert!(inner.time >= Duration::from_millis(80), "{inner:?}");
        assert!(outer.time >= Duration::from_millis(5) && outer.time < inner.time, "{outer:?}");
        assert!(!stop().contains_key(&("after", Pass::Forward)));
    }
}
