//! Why a plugin or one of its components cannot be used.

use std::path::{Path, PathBuf};

use hssl_plugin_api::component::Kind;

/// A refusal, with what was found, what is accepted and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// A place that was named to be searched does not exist.
    #[error("{path}, given by {origin}, does not exist; create it or leave it out", path = .path.display())]
    Missing {
        /// The place.
        path: PathBuf,
        /// Who named it.
        origin: String,
    },
    /// The operating system refused a read or write.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// `read`, `list`, `write`.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a shared library at all.
    #[error(
        "{path} is {found}, not a shared library; a plugin is built with `cargo build --release` \
         from a crate with crate-type = [\"cdylib\"]", path = .path.display()
    )]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The file starts as a shared library but does not go on as one.
    #[error(
        "{path} is damaged: {found}; copy the file again, or rebuild it", path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// A shared library without a plugin's descriptor.
    #[error(
        "{path} is a shared library but no hssl plugin: it has no link section `{section}`; \
         a plugin's crate has one `hssl_plugin_api::export!`", path = .path.display()
    )]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// The section that plugins have.
        section: &'static str,
    },
    /// A descriptor that cannot be read.
    #[error(
        "{path}: the plugin descriptor cannot be read: {found}; rebuild the plugin with a current \
         hssl-plugin-api", path = .path.display()
    )]
    Descriptor {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// Built for another platform.
    #[error(
        "plugin `{plugin}` ({path}) is built for {found}; this host runs on {accepted}: get or \
         build it for that target", path = .path.display()
    )]
    Platform {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// Its platform.
        found: String,
        /// The host's platform.
        accepted: String,
    },
    /// Built against an interface version that this host does not have.
    #[error(
        "plugin `{plugin}` ({path}) is built against plugin interface {found}; this host, hssl \
         {host} on {platform}, accepts {accepted}: {fix}", path = .path.display()
    )]
    Interface {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// Its interface version.
        found: String,
        /// Release of the host.
        host: &'static str,
        /// Platform of the host.
        platform: &'static str,
        /// Versions that the host takes.
        accepted: String,
        /// What to do.
        fix: String,
    },
    /// Built so that a panic would end the host.
    #[error(
        "plugin `{plugin}` ({path}) is built with panic = \"{found}\"; only \"unwind\" is accepted \
         ({platform}), because a panic in it would end the whole run: remove `panic` from the \
         plugin's Cargo profile and rebuild it", path = .path.display()
    )]
    PanicStrategy {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// Its panic strategy.
        found: String,
        /// Platform of the host.
        platform: &'static str,
    },
    /// Someone else could change the file.
    #[error(
        "{path} is not trusted: {place} {found}, so others could replace the code that hssl runs; \
         fix: {fix}", path = .path.display()
    )]
    Untrusted {
        /// The plugin file.
        path: PathBuf,
        /// The file or folder at fault.
        place: String,
        /// Which permission.
        found: String,
        /// The command that removes it.
        fix: String,
    },
    /// Two files give themselves the same plugin name.
    #[error(
        "plugin `{plugin}` is offered by two files, {first} and {second}: remove one of them, or \
         leave its folder out of --plugin-dir and HSSL_PLUGIN_PATH",
        first = .first.display(), second = .second.display()
    )]
    TwoFiles {
        /// The plugin's name.
        plugin: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// `plugins.lock` cannot be read.
    #[error(
        "{path}: {found}; write it again with `hssl plugin lock`", path = .path.display()
    )]
    LockFile {
        /// The lock file.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// A plugin that the lock does not list.
    #[error(
        "plugin `{plugin}` {version} ({path}, sha256 {sha256}) is not listed in {lock}; it lists \
         {listed}. If the plugin is wanted, write the lock again with `hssl plugin lock`",
        path = .path.display(), lock = .lock.display()
    )]
    NotLocked {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// Its version.
        version: String,
        /// Its hash.
        sha256: String,
        /// The lock file.
        lock: PathBuf,
        /// What it lists.
        listed: String,
    },
    /// A plugin that differs from the locked one.
    #[error(
        "plugin `{plugin}` ({path}) is not the locked one: found version {version}, sha256 {sha256}; \
         {lock} has version {locked_version}, sha256 {locked_sha256}. Restore the locked file, or \
         accept the new one with `hssl plugin lock`",
        path = .path.display(), lock = .lock.display()
    )]
    LockDiffers {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// Its version.
        version: String,
        /// Its hash.
        sha256: String,
        /// The lock file.
        lock: PathBuf,
        /// The version that it lists.
        locked_version: String,
        /// The hash that it lists.
        locked_sha256: String,
    },
    /// The file is not the one that was looked at when plugins were searched.
    #[error(
        "{path} changed while hssl was running: its descriptor is not the one that was read at the \
         start; run hssl again", path = .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The library cannot be opened, or its root module is of another layout.
    #[error("plugin `{plugin}` ({path}) cannot be loaded: {reason}", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// The loader's words.
        reason: String,
    },
    /// What a loaded plugin tells of itself is unreadable or contradicts its descriptor.
    #[error(
        "plugin `{plugin}` ({path}): its manifest {found}; rebuild the plugin, or report this to \
         its author", path = .path.display()
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The plugin's name.
        plugin: String,
        /// What is wrong.
        found: String,
    },
    /// No plugin offers the component.
    #[error("no plugin offers the {kind} `{name}`{suggestion}. {available}{refused}")]
    NoComponent {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// `: did you mean ...?`, or nothing.
        suggestion: String,
        /// What there is, or where plugins were looked for.
        available: String,
        /// Refused files that may have offered it, or nothing.
        refused: String,
    },
    /// Two plugins offer the component.
    #[error(
        "the {kind} `{name}` is offered by two plugins, {first} and {second}: remove one of the \
         files, or leave its folder out of --plugin-dir and HSSL_PLUGIN_PATH",
        first = .first.display(), second = .second.display()
    )]
    Ambiguous {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

impl PluginError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
