//! What can go wrong in a computation.

use crate::DType;

/// Result of a computation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A computation that could not be done. Messages name the operation, what came and what fits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shapes that do not go together.
    #[error("{op}: {found}; expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The shapes that came.
        found: String,
        /// What the operation takes.
        expected: String,
    },
    /// An element type that the operation cannot take.
    #[error("{op}: element type {found:?}; expected {expected}")]
    Type {
        /// The operation.
        op: &'static str,
        /// The type that came.
        found: DType,
        /// The types that it takes.
        expected: &'static str,
    },
    /// An attribute outside its domain.
    #[error("{op}: {what}")]
    Attribute {
        /// The operation.
        op: &'static str,
        /// The attribute, its value and its domain.
        what: String,
    },
    /// Too few or too many inputs.
    #[error("{op}: {found} inputs; expected {expected}")]
    Inputs {
        /// The operation.
        op: &'static str,
        /// How many came.
        found: usize,
        /// How many it takes.
        expected: &'static str,
    },
    /// The gradient was asked of something that has none.
    #[error("backward: {0}")]
    Backward(String),
    /// A computation handed in by a caller failed (checkpointed blocks, plugins).
    #[error("{0}")]
    Callback(String),
    /// candle refused or the device failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// A shape error.
    pub fn shape(op: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Shape { op, found: found.into(), expected: expected.into() }
    }

    /// An attribute error.
    pub fn attribute(op: &'static str, what: impl Into<String>) -> Self {
        Self::Attribute { op, what: what.into() }
    }
}
