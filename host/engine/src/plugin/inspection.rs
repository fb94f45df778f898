//! `hssl plugin inspect`: everything that can be said of a file without running any of it.

use std::path::{Path, PathBuf};

use hssl_plugin_api::abi::descriptor::Descriptor;
use sha2::{Digest, Sha256};

use super::descriptor::Image;
use super::{PluginError, trust};

/// A section of a shared library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a file says of itself.
#[derive(Debug)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Object format and processor, if it is a shared library.
    pub machine: Option<String>,
    /// Its sections, if it is a shared library.
    pub sections: Vec<Section>,
    /// Its descriptor, if it has one that can be read.
    pub descriptor: Option<Descriptor>,
    /// Whether this host would load it, and why not.
    pub verdict: Result<(), PluginError>,
}

/// Looks at a file. No code of it runs.
///
/// # Errors
/// The file cannot be read; everything else is the verdict's matter.
pub fn inspect(path: &Path) -> Result<Inspection, PluginError> {
    let bytes = std::fs::read(path).map_err(|source| PluginError::io("read", path, source))?;
    let mut inspection = Inspection {
        path: path.to_owned(),
        size: bytes.len() as u64,
        sha256: sha256(&bytes),
        machine: None,
        sections: Vec::new(),
        descriptor: None,
        verdict: Ok(()),
    };
    inspection.verdict = inspection.judge();
    Ok(inspection)
}

impl Inspection {
    fn judge(&mut self) -> Result<(), PluginError> {
        let image = Image::read(&self.path)?;
        self.machine = Some(image.machine());
        self.sections = image.sections.clone();
        let descriptor = self.descriptor.insert(image.descriptor(&self.path)?);
        image.accept(&self.path, descriptor)?;
        trust::check(&self.path).map(drop)
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
