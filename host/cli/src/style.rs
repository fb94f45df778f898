//! The few colours there are. [`anstream`] leaves them out where the reader is no terminal, or
//! `NO_COLOR` or `--color never` says so.

use anstyle::{AnsiColor, Style};

/// `error:`
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// `warning:`
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What is right.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Headings.
pub const HEADING: Style = AnsiColor::Cyan.on_default().bold();
/// What is said beside the point.
pub const FAINT: Style = Style::new().dimmed();
