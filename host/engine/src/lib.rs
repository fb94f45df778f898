//! The training and evaluation engine.

pub mod config;
pub mod events;
