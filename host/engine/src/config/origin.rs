//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// The layer that said a value. The order is the layers': a later one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default of a component's own option.
    Component(String),
    /// `defaults.toml`.
    Default,
    /// The recipe of the objective of this name.
    Recipe(String),
    /// A configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// `--set`.
    Set,
}

impl Origin {
    /// True where a user said it, rather than the program or a plugin.
    pub fn is_users(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Environment(_) | Self::Set)
    }

    /// True if this one's layer lies above the other's (two files count as one layer).
    pub(super) fn outranks(&self, other: &Self) -> bool {
        let rank = |origin: &Self| match origin {
            Self::Component(_) => 0,
            Self::Default => 1,
            Self::Recipe(_) => 2,
            Self::File { .. } => 3,
            Self::Environment(_) => 4,
            Self::Set => 5,
        };
        rank(self) > rank(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(name) => write!(f, "default of {name}"),
            Self::Default => f.write_str("default"),
            Self::Recipe(objective) => write!(f, "recipe of {objective}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Set => f.write_str("--set"),
        }
    }
}
