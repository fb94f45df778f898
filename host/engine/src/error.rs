//! What can stop a run.

use std::path::PathBuf;

use crate::plugin::CallError;

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, in words for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Parts that do not go together.
    #[error("{0}")]
    Composition(String),
    /// A parameter that is not as expected.
    #[error("parameter {0}")]
    Parameter(String),
    /// A component failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A plugin cannot be used.
    #[error(transparent)]
    Plugin(#[from] crate::plugin::PluginError),
    /// A computation failed.
    #[error(transparent)]
    Tensor(#[from] hssl_tensor::Error),
    /// A message between host and component could not be made.
    #[error(transparent)]
    Message(#[from] hssl_plugin_api::Error),
    /// Images could not be read.
    #[error(transparent)]
    Data(#[from] hssl_datasets::Error),
    /// Training cannot go on.
    #[error("{0}")]
    Training(String),
    /// A file could not be read or written.
    #[error("{path}: {what}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
}

impl Error {
    /// A file error.
    pub fn file(path: impl Into<PathBuf>, what: &'static str, source: std::io::Error) -> Self {
        Self::File { path: path.into(), what, source }
    }

    /// A content error.
    pub fn content(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Content { path: path.into(), what: what.into() }
    }
}
