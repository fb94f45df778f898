//! How fast things are: whole training steps, loading alone, single operations.

mod loading;
mod operation;
mod source;
mod step;
mod update;

pub use loading::{Loading, bench_loading};
pub use operation::{Case, OperationTime, Work, bench_operation, read_cases};
pub use step::{Measurement, Part, Plan, bench_steps};

/// The middle one of some numbers, which it sorts.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
