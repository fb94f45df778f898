//! The plugins of a process: which were found, which were refused, which are loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hssl_plugin_api::abi::descriptor::Descriptor;
use hssl_plugin_api::component::Kind;

use super::descriptor::Image;
use super::discovery::Candidate;
use super::inspection::sha256;
use super::{
    Component, Enforcement, LoadedPlugin, LockedPlugin, Origin, PluginError, PluginLock,
    SearchPath, UsedPlugin, trust,
};

/// The plugins that were found. Libraries are opened when a component of theirs is first asked for,
/// and stay open.
#[derive(Debug)]
pub struct Registry {
    search: SearchPath,
    entries: Vec<Entry>,
    refused: Vec<Refusal>,
    lock: Option<(PluginLock, Enforcement)>,
}

/// A plugin that may be loaded.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    descriptor: Descriptor,
    loaded: Mutex<Option<Arc<LoadedPlugin>>>,
}

/// A file or place that was refused, with the reason.
#[derive(Debug)]
pub struct Refusal {
    /// The file, or the place that could not be listed.
    pub path: PathBuf,
    /// Its descriptor, as far as it could be read.
    pub descriptor: Option<Descriptor>,
    /// Why.
    pub error: PluginError,
}

/// A component that a plugin says it has. Nothing is loaded to know it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its name in configurations.
    pub name: &'a str,
    /// The plugin's descriptor.
    pub plugin: &'a Descriptor,
    /// The plugin's file.
    pub path: &'a Path,
}

impl Registry {
    /// Looks at every plugin file of a search path, without loading any. A file that cannot be used
    /// is kept among [`Registry::refused`].
    pub fn discover(search: &SearchPath) -> Self {
        let (candidates, unlisted) = search.candidates();
        let mut registry =
            Self { search: search.clone(), entries: Vec::new(), refused: Vec::new(), lock: None };
        for (path, error) in unlisted {
            registry.refused.push(Refusal { path, descriptor: None, error });
        }
        for candidate in candidates {
            registry.consider(candidate);
        }
        registry
    }

    fn consider(&mut self, Candidate { path, origin }: Candidate) {
        let mut descriptor = None;
        match self.examine(&path, &mut descriptor) {
            Ok(descriptor) => {
                self.entries.push(Entry { path, descriptor, loaded: Mutex::new(None) });
            }
            // The build folder holds libraries that nobody offered as plugins.
            Err(PluginError::NotAPlugin { .. }) if origin == Origin::Build => {}
            Err(error) => self.refused.push(Refusal { path, descriptor, error }),
        }
    }

    fn examine(
        &self,
        path: &Path,
        seen: &mut Option<Descriptor>,
    ) -> Result<Descriptor, PluginError> {
        let image = Image::read(path)?;
        let descriptor = seen.insert(image.descriptor(path)?).clone();
        image.accept(path, &descriptor)?;
        trust::check(path)?;
        Ok(descriptor)
    }

    /// Holds every plugin that is loaded from now on against a lock.
    pub fn with_lock(mut self, lock: PluginLock, enforcement: Enforcement) -> Self {
        self.lock = Some((lock, enforcement));
        self
    }

    /// A lock of every plugin that was found, to be written to `path`.
    ///
    /// # Errors
    /// Two files give themselves the same name, or one cannot be read.
    pub fn to_lock(&self, path: impl Into<PathBuf>) -> Result<PluginLock, PluginError> {
        let mut plugins: Vec<LockedPlugin> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let name = &entry.descriptor.name;
            if let Some(first) = self.entries[..index].iter().find(|e| e.descriptor.name == *name) {
                return Err(PluginError::TwoFiles {
                    plugin: name.clone(),
                    first: first.path.clone(),
                    second: entry.path.clone(),
                });
            }
            let bytes = std::fs::read(&entry.path)
                .map_err(|source| PluginError::io("read", &entry.path, source))?;
            plugins.push(LockedPlugin {
                name: name.clone(),
                version: entry.descriptor.version.clone(),
                sha256: sha256(&bytes),
            });
        }
        Ok(PluginLock::new(path, plugins))
    }

    /// Files and places that cannot be used.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Every component on offer, plugin by plugin.
    pub fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        self.entries.iter().flat_map(|entry| {
            entry.descriptor.components.iter().map(|(kind, name)| Offer {
                kind,
                name,
                plugin: &entry.descriptor,
                path: &entry.path,
            })
        })
    }

    /// A component by kind and name; its plugin is loaded if it is not yet.
    ///
    /// # Errors
    /// Nobody offers it, two plugins do, or its plugin cannot be loaded.
    pub fn component(&self, kind: Kind, name: &str) -> Result<Component, PluginError> {
        let mut found = self.entries.iter().filter_map(|entry| {
            let components = &entry.descriptor.components;
            let index = components.iter().position(|(k, n)| k == kind.word() && n == name)?;
            Some((entry, index))
        });
        let (entry, index) = found.next().ok_or_else(|| self.missing(kind, name))?;
        if let Some((second, _)) = found.next() {
            return Err(PluginError::Ambiguous {
                kind,
                name: name.to_owned(),
                first: entry.path.clone(),
                second: second.path.clone(),
            });
        }
        let plugin = self.load(entry)?;
        let manifest = plugin.manifest[index].clone();
        Ok(Component { plugin, index, manifest })
    }

    fn load(&self, entry: &Entry) -> Result<Arc<LoadedPlugin>, PluginError> {
        // A panic while loading leaves the slot empty, so it is as good as before.
        let mut loaded = entry.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = &*loaded {
            return Ok(plugin.clone());
        }
        let plugin =
            Arc::new(LoadedPlugin::open(&entry.path, &entry.descriptor, self.lock.as_ref())?);
        tracing::debug!(plugin = %entry.descriptor.name, path = %entry.path.display(), "loaded");
        Ok(loaded.insert(plugin).clone())
    }

    /// The plugins that are loaded: what a run records.
    pub fn used(&self) -> Vec<UsedPlugin> {
        let loaded = self.entries.iter().filter_map(|entry| {
            entry.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
        });
        loaded.map(|plugin| plugin.used()).collect()
    }

    fn missing(&self, kind: Kind, name: &str) -> PluginError {
        let mut names: Vec<&str> = self
            .offers()
            .filter(|offer| offer.kind == kind.word())
            .map(|offer| offer.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let suggestion = names
            .iter()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(score, _)| *score > 0.75)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| format!(": did you mean `{known}`?"))
            .unwrap_or_default();
        let available = if names.is_empty() {
            format!("There is no {kind} at all; {}", self.places())
        } else {
            format!("There is: {}", names.join(", "))
        };
        PluginError::NoComponent {
            kind,
            name: name.to_owned(),
            suggestion,
            available,
            refused: self.refused_instead(kind, name),
        }
    }

    fn places(&self) -> String {
        let places: Vec<String> = self
            .search
            .locations()
            .iter()
            .map(|location| format!("{} ({})", location.path.display(), location.origin))
            .collect();
        if places.is_empty() {
            return "no place was searched: name a folder with --plugin-dir".into();
        }
        format!("searched: {}. Name further folders with --plugin-dir", places.join(", "))
    }

    /// Refused files that offer the component, or may do so.
    fn refused_instead(&self, kind: Kind, name: &str) -> String {
        let offers = |descriptor: &Descriptor| {
            descriptor.components.iter().any(|(k, n)| k == kind.word() && n == name)
        };
        let mut text = String::new();
        for Refusal { path, descriptor, error } in &self.refused {
            let path = path.display();
            match descriptor {
                Some(descriptor) if offers(descriptor) => {
                    text += &format!("\n  {path} offers it but is refused: {error}");
                }
                Some(_) => {}
                None => text += &format!("\n  {path} is refused, whatever it offers: {error}"),
            }
        }
        text
    }
}
