//! Options of every command.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder with plugins, searched before HSSL_PLUGIN_PATH and the installation; repeatable
    #[arg(long, global = true, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,

    /// Folder with the known data sets; without it `data.root` of the configuration, then HSSL_DATA
    #[arg(long, global = true, value_name = "DIR")]
    pub data_root: Option<PathBuf>,

    /// Refuse plugins that differ from plugins.lock: the one beside the configuration; a run's own;
    /// where a run has none, or nothing is configured, the one in this folder
    #[arg(long, global = true)]
    pub locked: bool,

    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Say only what goes wrong
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// When to colour the output.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Makes it the choice of the process.
    pub fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// `--set`.
#[derive(Args, Clone, Debug)]
pub struct Sets {
    /// Override a key of the configuration: `train.lr=1e-3`, `heads.aux.depth=1`, `heads={}`;
    /// repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `KEY=VALUE`, as `--set` takes it, for every value of a table and the tables in it.
pub fn assignments(table: &toml::Table) -> Vec<String> {
    use toml::Value;
    fn put(prefix: &str, table: &toml::Table, list: &mut Vec<String>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(inner) if !inner.is_empty() => put(&key, inner, list),
                Value::Table(_) => list.push(format!("{key}={{}}")),
                value => list.push(format!("{key}={value}")),
            }
        }
    }
    let mut list = Vec::new();
    put("", table, &mut list);
    list
}
