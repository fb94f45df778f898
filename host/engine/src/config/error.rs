//! Why a configuration could not be resolved.

use std::path::PathBuf;

use super::Problem;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a configuration could not be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read configuration {chain}: {reason}")]
    Read {
        /// The file, after those that led to it: `a.toml -> base.toml`.
        chain: String,
        /// The system's reason.
        reason: String,
    },
    /// A file is not TOML.
    #[error("configuration {path} is not valid TOML\n{message}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the place.
        message: String,
    },
    /// `extends` is neither a path nor a list of paths.
    #[error(
        "{path}: `extends` is {found}; expected a file name or a list of them, as in \
         extends = \"base/vit_small.toml\"",
        path = .path.display()
    )]
    Extends {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A file extends itself.
    #[error("`extends` runs in a circle: {chain}; remove one of these links")]
    Circle {
        /// The files, in order.
        chain: String,
    },
    /// A `--set` that is no assignment.
    #[error("--set {text}: {found}; expected KEY=VALUE, as in --set train.lr=1e-3")]
    Setting {
        /// As written.
        text: String,
        /// What is wrong.
        found: String,
    },
    /// An environment variable that names no key.
    #[error("environment variable {variable}: {found}; expected a name such as HSSL_TRAIN__LR")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong.
        found: String,
    },
    /// The values do not make a run; all problems at once.
    #[error("{}", describe(.0))]
    Invalid(Vec<Problem>),
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Write(#[from] toml::ser::Error),
}

fn describe(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let mut text = match errors {
        1 => "the configuration has a problem".to_owned(),
        _ => format!("the configuration has {errors} problems"),
    };
    for problem in problems {
        let word = if problem.is_error() { "" } else { "warning: " };
        text.push_str(&format!("\n  {word}{problem}"));
    }
    text
}
