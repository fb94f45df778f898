//! A loaded plugin and its components.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hssl_plugin_api::abi::descriptor::Descriptor;
use hssl_plugin_api::abi::root::{self, PluginRef};
use hssl_plugin_api::abi::{Message, OK};
use hssl_plugin_api::component::{ComponentManifest, Manifest};
use serde::{Deserialize, Serialize};

use super::inspection::sha256;
use super::{Enforcement, PluginError, PluginLock, descriptor, trust};

/// A plugin whose library is open, for the rest of the process.
pub struct LoadedPlugin {
    /// What the file said before it was opened.
    pub descriptor: Descriptor,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
    /// Entry points.
    pub module: PluginRef,
    /// Components in the order of their indices.
    pub manifest: Vec<Arc<ComponentManifest>>,
}

impl std::fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedPlugin")
            .field("descriptor", &self.descriptor)
            .field("path", &self.path)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// A component of a loaded plugin. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Component {
    /// The plugin.
    pub plugin: Arc<LoadedPlugin>,
    /// Position in the plugin's table.
    pub index: usize,
    /// What the component says of itself.
    pub manifest: Arc<ComponentManifest>,
}

/// A plugin file, as runs record and locks list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedPlugin {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Name of its file, without the folder.
    pub file: String,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
}

impl UsedPlugin {
    pub(super) fn new(descriptor: &Descriptor, path: &Path, sha256: String) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name: descriptor.name.clone(), version: descriptor.version.clone(), file, sha256 }
    }
}

/// The manifest's reply, as the plugin's envelope writes it.
#[derive(Deserialize)]
struct Reply {
    body: Manifest,
}

impl LoadedPlugin {
    /// Opens a plugin that discovery has accepted, unless it has changed or is not the locked one.
    /// `path` is how the user knows it; what is read, hashed and opened is the file behind it.
    pub(super) fn open(
        path: &Path,
        known: &Descriptor,
        lock: Option<&(PluginLock, Enforcement)>,
    ) -> Result<Self, PluginError> {
        let real = trust::check(path)?;
        let image = descriptor::Image::read(&real)?;
        if image.descriptor(path)? != *known {
            return Err(PluginError::Changed { path: path.to_owned() });
        }
        let bytes =
            std::fs::read(&real).map_err(|source| PluginError::io("read", &real, source))?;
        let sha256 = sha256(&bytes);
        drop(bytes);
        if let Some((lock, enforcement)) = lock
            && let Err(difference) = lock.check(&UsedPlugin::new(known, path, sha256.clone()), path)
        {
            match enforcement {
                Enforcement::Refuse => return Err(difference),
                Enforcement::Warn => tracing::warn!("{difference}"),
            }
        }
        // It has a folder in its name: without one, the loader would look for it elsewhere.
        let module = root::open(&real).map_err(|reason| PluginError::Open {
            path: path.to_owned(),
            plugin: known.name.clone(),
            reason,
        })?;
        let manifest = manifest(module, known).map_err(|found| PluginError::Manifest {
            path: path.to_owned(),
            plugin: known.name.clone(),
            found,
        })?;
        Ok(Self {
            descriptor: known.clone(),
            path: path.to_owned(),
            sha256,
            module,
            manifest: manifest.into_iter().map(Arc::new).collect(),
        })
    }

    /// The record of this plugin for a run.
    pub fn used(&self) -> UsedPlugin {
        UsedPlugin::new(&self.descriptor, &self.path, self.sha256.clone())
    }
}

/// Asks the plugin for its manifest and holds it against the descriptor.
fn manifest(module: PluginRef, known: &Descriptor) -> Result<Vec<ComponentManifest>, String> {
    let mut reply = Message::EMPTY;
    // SAFETY: the interface wants a pointer to an empty message, and this is one.
    let status = unsafe { (module.manifest())(std::ptr::from_mut(&mut reply).cast::<c_void>()) };
    if status != OK {
        return Err(format!("could not be made: {}", reply.json.to_text()));
    }
    let Reply { body } = serde_json::from_slice(reply.json.as_slice())
        .map_err(|error| format!("cannot be read: {error}"))?;
    let told: Vec<(String, String)> = body
        .components
        .iter()
        .map(|component| (component.kind.word().to_owned(), component.name.clone()))
        .collect();
    if told != known.components {
        return Err(format!(
            "lists the components {told:?}, its descriptor {:?}",
            known.components
        ));
    }
    Ok(body.components)
}
