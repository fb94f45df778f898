//! The engine: it composes components into networks, trains them, and evaluates what they learned.
//!
//! A batch's way: `hssl-datasets` makes augmented views; [`train::Learner`] hands them to the objective
//! plugin, which asks for encodings by [`network::Network`]s (base and heads, student and teacher); the
//! loss goes back through the tape of `hssl-tensor`; the optimizer moves the student, and the teacher
//! follows. Afterwards [`evaluate::Evaluator`] runs evaluator plugins on the teacher's base.

pub mod analysis;
pub mod base;
pub mod bench;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod embed;
mod error;
pub mod evaluate;
pub mod events;
mod images;
pub mod network;
pub mod parameters;
pub mod plugin;
pub mod run;
pub mod supervision;
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use hssl_plugin_api::component;
