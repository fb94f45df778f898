//! Folders of plugins, made from the test plugins that Cargo built for these tests.

use std::path::{Path, PathBuf};

use hssl_engine::plugin::{Registry, SearchPath};
use tempfile::TempDir;

/// The library of `tests/plugins/NAME`.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = test.with_file_name(format!("{prefix}hssl_test_{name}{suffix}"));
    assert!(path.exists(), "{} is not built; it is a dev-dependency", path.display());
    path
}

/// A folder that plugins are put into.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    pub fn with(self, plugins: &[&str]) -> Self {
        for name in plugins {
            self.put(name, &std::fs::read(built(name)).unwrap());
        }
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}{}", std::env::consts::DLL_SUFFIX))
    }

    /// Writes a library's file under a name.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn registry(&self) -> Registry {
        Registry::discover(&SearchPath::only([self.path()]))
    }
}

/// The minimal plugin's file with a line of its descriptor changed. The new line may be shorter: what
/// is left over goes to a line that readers skip.
pub fn patched(key: &str, value: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(built("minimal")).unwrap();
    // The magic alone also stands in the SDK's own code.
    let head = format!("{}\ninterface ", hssl_plugin_api::abi::descriptor::MAGIC);
    let start = find(&bytes, head.as_bytes()).expect("the descriptor is in the file");
    let from = start + find(&bytes[start..], format!("\n{key} ").as_bytes()).unwrap() + 1;
    let line = find(&bytes[from..], b"\n").unwrap();
    let new = format!("{key} {value}");
    assert!(new.len() <= line, "{new:?} does not fit into the {line} bytes of the old line");
    bytes[from..from + line].fill(b'\n');
    bytes[from..from + new.len()].copy_from_slice(new.as_bytes());
    bytes
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Asserts that a message has all of these parts.
#[track_caller]
pub fn says(message: impl ToString, parts: &[&str]) {
    let message = message.to_string();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}
