//! Where plugins are looked for. Never the working folder, unless somebody names it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::PluginError;

/// The environment variable with further folders, separated as in `PATH`.
pub const PLUGIN_PATH_VARIABLE: &str = "HSSL_PLUGIN_PATH";

/// Who named a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `--plugin-dir` argument.
    Argument,
    /// [`PLUGIN_PATH_VARIABLE`].
    Environment,
    /// The installation: `../lib/hssl/plugins` beside the executable's folder.
    Installation,
    /// A development build: the Cargo output folder that the executable lies in.
    Build,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Argument => "--plugin-dir",
            Self::Environment => PLUGIN_PATH_VARIABLE,
            Self::Installation => "the installation",
            Self::Build => "the build folder",
        })
    }
}

/// A folder of plugins, or one plugin file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The folder or file.
    pub path: PathBuf,
    /// Who named it.
    pub origin: Origin,
}

/// The places where plugins are looked for, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    locations: Vec<Location>,
}

/// A file that may be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    pub origin: Origin,
}

impl SearchPath {
    /// No place but these folders or files.
    pub fn only<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        let locations = paths
            .into_iter()
            .map(|path| Location { path: path.into(), origin: Origin::Argument })
            .collect();
        Self { locations }
    }

    /// The `--plugin-dir` arguments, then [`PLUGIN_PATH_VARIABLE`], then the folders that come with
    /// the running executable.
    pub fn of_process<P: Into<PathBuf>>(arguments: impl IntoIterator<Item = P>) -> Self {
        let mut search = Self::only(arguments);
        if let Some(paths) = std::env::var_os(PLUGIN_PATH_VARIABLE) {
            search = search.with_environment(&paths);
        }
        match std::env::current_exe().and_then(std::fs::canonicalize) {
            Ok(executable) => search.with_executable(&executable),
            Err(error) => {
                tracing::warn!("the executable's own plugins are not searched: {error}");
                search
            }
        }
    }

    /// Adds the folders of a variable like `PATH`. Empty entries, which `PATH` takes for the working
    /// folder, are skipped.
    fn with_environment(mut self, paths: &std::ffi::OsStr) -> Self {
        let folders = std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty());
        self.locations.extend(folders.map(|path| Location { path, origin: Origin::Environment }));
        self
    }

    /// Adds the folders that come with an executable.
    fn with_executable(mut self, executable: &Path) -> Self {
        let Some(folder) = executable.parent() else { return self };
        if let Some(prefix) = folder.parent() {
            let path = prefix.join("lib").join("hssl").join("plugins");
            self.locations.push(Location { path, origin: Origin::Installation });
        }
        // Test programs lie one folder deeper than the profile's own outputs.
        let profile = match folder.parent() {
            Some(parent) if folder.ends_with("deps") => parent,
            _ => folder,
        };
        let is_cargo_output = profile.join("deps").is_dir()
            && profile.parent().is_some_and(|target| {
                ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|mark| target.join(mark).exists())
                    || target.parent().is_some_and(|parent| parent.join("CACHEDIR.TAG").exists())
            });
        if is_cargo_output {
            self.locations.push(Location { path: profile.to_owned(), origin: Origin::Build });
        }
        self
    }

    /// The places, in order.
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// The files with a shared library's extension, in the order of the places, then by name; and
    /// the places that cannot be listed.
    pub(super) fn candidates(&self) -> (Vec<Candidate>, Vec<(PathBuf, PluginError)>) {
        let mut candidates = Vec::new();
        let mut refused = Vec::new();
        let mut seen = BTreeSet::new();
        for location in &self.locations {
            match files(location) {
                Ok(files) => {
                    for path in files {
                        // The same file by two ways is one file.
                        let identity = std::fs::canonicalize(&path).unwrap_or(path.clone());
                        if seen.insert(identity) {
                            candidates.push(Candidate { path, origin: location.origin });
                        }
                    }
                }
                Err(error) => refused.push((location.path.clone(), error)),
            }
        }
        (candidates, refused)
    }
}

/// Files of a place that may be plugins.
fn files(location: &Location) -> Result<Vec<PathBuf>, PluginError> {
    let Location { path, origin } = location;
    if path.is_file() {
        return Ok(vec![path.clone()]);
    }
    if !path.exists() {
        return match origin {
            Origin::Installation | Origin::Build => Ok(Vec::new()),
            Origin::Argument | Origin::Environment => {
                Err(PluginError::Missing { path: path.clone(), origin: origin.to_string() })
            }
        };
    }
    let list = |source| PluginError::io("list", path, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(list)? {
        let file = entry.map_err(list)?.path();
        let is_library = file.extension().is_some_and(|e| e == std::env::consts::DLL_EXTENSION);
        // A Cargo output folder holds every library of the workspace; ours are named alike.
        let is_ours = *origin != Origin::Build || is_named_as_plugin(&file);
        if is_library && is_ours && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn is_named_as_plugin(file: &Path) -> bool {
    let prefix = format!("{}hssl_plugin_", std::env::consts::DLL_PREFIX);
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(search: &SearchPath, origin: Origin) -> Vec<&Path> {
        let of_origin = search.locations().iter().filter(|location| location.origin == origin);
        of_origin.map(|location| location.path.as_path()).collect()
    }

    #[test]
    fn an_installed_host_looks_beside_itself_and_not_in_its_own_folder() {
        let prefix = tempfile::tempdir().unwrap();
        let search = SearchPath::default().with_executable(&prefix.path().join("bin/hssl"));
        let expected = prefix.path().join("lib/hssl/plugins");
        assert_eq!(paths(&search, Origin::Installation), [expected]);
        assert_eq!(paths(&search, Origin::Build), Vec::<&Path>::new());
    }

    #[test]
    fn a_cargo_build_looks_in_its_output_folder_for_libraries_of_our_name() {
        let target = tempfile::tempdir().unwrap();
        let profile = target.path().join("debug");
        std::fs::create_dir_all(profile.join("deps")).unwrap();
        std::fs::write(target.path().join("CACHEDIR.TAG"), "").unwrap();
        let (prefix, extension) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_EXTENSION);
        for name in ["hssl_plugin_vit", "another"] {
            std::fs::write(profile.join(format!("{prefix}{name}.{extension}")), "").unwrap();
        }
        for executable in ["hssl", "deps/boundary-1a2b"] {
            let search = SearchPath::default().with_executable(&profile.join(executable));
            let (candidates, refused) = search.candidates();
            assert_eq!(candidates.len(), 1, "{candidates:?}");
            assert!(candidates[0].path.to_string_lossy().contains("hssl_plugin_vit"));
            assert!(refused.is_empty());
        }
    }

    #[test]
    fn empty_entries_of_the_variable_do_not_mean_the_working_folder() {
        let joined = std::env::join_paths(["", "/a", "", "/b"]).unwrap();
        let search = SearchPath::default().with_environment(&joined);
        assert_eq!(paths(&search, Origin::Environment), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn a_named_folder_that_is_missing_is_reported_with_who_named_it() {
        let (_, refused) = SearchPath::only(["/nowhere/plugins"]).candidates();
        let message = refused[0].1.to_string();
        assert!(
            message.contains("/nowhere/plugins") && message.contains("--plugin-dir"),
            "{message}"
        );
    }

    #[test]
    fn a_file_named_twice_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("one.{}", std::env::consts::DLL_EXTENSION);
        let file = folder.path().join(name);
        std::fs::write(&file, "").unwrap();
        let (candidates, _) = SearchPath::only([folder.path(), &file, folder.path()]).candidates();
        assert_eq!(candidates.len(), 1);
    }
}
