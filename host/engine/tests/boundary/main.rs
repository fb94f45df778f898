//! The boundary between host and plugins, from a folder of files to a loaded component.

mod fixtures;

mod components;
mod conformance;
mod lock;
mod panics;
mod refusal;
mod trust;
