//! What a component's computation can fail with.

/// Result of a component.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, in words for the user: what was found, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host could not compute or serve what was asked.
    #[error("{0}")]
    Host(String),
    /// The component refuses: a configuration or an input that it cannot take.
    #[error("{0}")]
    Refused(String),
    /// A message of the other side could not be read.
    #[error("malformed message: {0}")]
    Message(#[from] serde_json::Error),
}

impl Error {
    /// A refusal.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }
}

/// Returns a refusal with a formatted message.
#[macro_export]
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::Error::refused(format!($($message)*)))
    };
}
