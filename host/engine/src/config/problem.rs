//! What is wrong with a configuration.

use std::fmt;

use super::Origin;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The run can start; something is probably not as meant.
    Warning,
    /// The run cannot start.
    Error,
}

/// One thing that is wrong, with the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The dotted key it is about.
    pub key: String,
    /// What was found, what was expected, what to do.
    pub message: String,
    /// Who said the value; none where it is missing, or before origins are attached.
    pub origin: Option<Origin>,
}

impl Problem {
    /// A problem that stops the run.
    pub fn error(key: impl Into<String>, message: impl Into<String>) -> Self {
        let (key, message) = (key.into(), message.into());
        Self { severity: Severity::Error, key, message, origin: None }
    }

    /// A problem that does not.
    pub fn warning(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(key, message) }
    }

    /// True if it stops the run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "`{}`: {}", self.key, self.message)
    }
}
