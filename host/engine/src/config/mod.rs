//! The configuration of a run: TOML in layers, checked as a whole before anything is built.
//!
//! Layers, lowest first: built-in defaults, the objective's recipe, the files that the file
//! `extends`, the file, `HSSL_*` variables, `--set`. Every value remembers which of them said it.
//!
//! The layers are merged here rather than by a configuration crate because three rules need the
//! layers themselves: an empty `heads` table removes the heads below it, naming another plugin
//! drops the options meant for the former one, and each value keeps the file and line it came from.

mod check;
mod component;
mod document;
mod environment;
mod error;
mod file;
mod layer;
mod origin;
mod problem;
mod resolve;
mod schema;
mod setting;
mod validate;

#[cfg(test)]
mod tests;

pub use check::check;
pub use component::Recipes;
pub use document::document;
pub use error::{Error, Result};
pub use origin::Origin;
pub use problem::{Problem, Severity};
pub use resolve::{Base, Resolved, Sources, from_toml, load, resolve};
pub use schema::*;
pub use setting::settings;
