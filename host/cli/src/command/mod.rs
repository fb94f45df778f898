//! The commands, one file each: arguments, help, and the way to the engine.

pub mod bench;
pub mod embed;
pub mod eval;
pub mod pretrain;
pub mod step;
