//! The training and evaluation engine.

pub mod config;
