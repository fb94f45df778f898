//! The configuration of a run.

mod schema;

pub use schema::*;
