//! Reads and judges a file's descriptor. Nothing of the file is executed here.

use std::fs::File;
use std::path::Path;

use hssl_plugin_api::abi::descriptor::{Descriptor, SECTION, TARGET};
use hssl_plugin_api::abi::{INTERFACE, INTERFACE_TEXT};
use object::read::{ReadCache, ReadRef};
use object::{
    Architecture, BinaryFormat, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment,
};

use super::PluginError;
use super::inspection::Section;

/// A shared library as its headers describe it.
#[derive(Debug)]
pub(super) struct Image {
    pub format: BinaryFormat,
    pub architecture: Architecture,
    pub sections: Vec<Section>,
    /// Content of the descriptor's section.
    pub descriptor: Option<Vec<u8>>,
}

/// PE images cut section names to eight bytes.
const PE_SECTION: &str = ".hssl_pl";

impl Image {
    /// Reads the headers and the descriptor's section; of the rest of the file, nothing.
    pub fn read(path: &Path) -> Result<Self, PluginError> {
        let file = File::open(path).map_err(|source| PluginError::io("read", path, source))?;
        let size = file.metadata().map_err(|source| PluginError::io("read", path, source))?.len();
        Self::parse(path, &ReadCache::new(file), size)
    }

    fn parse<'data>(
        path: &Path,
        data: impl ReadRef<'data>,
        size: u64,
    ) -> Result<Self, PluginError> {
        let not_a_library =
            |found: String| PluginError::NotALibrary { path: path.to_owned(), found };
        if size == 0 {
            return Err(not_a_library("an empty file".into()));
        }
        let kind = FileKind::parse(data).map_err(|_| not_a_library(describe(data, size)))?;
        let name = match kind {
            FileKind::Elf32 | FileKind::Elf64 => "ELF",
            FileKind::MachO32 | FileKind::MachO64 => "Mach-O",
            FileKind::Pe32 | FileKind::Pe64 => "PE",
            FileKind::MachOFat32 | FileKind::MachOFat64 => {
                return Err(not_a_library(
                    "a universal Mach-O file (`lipo -thin` takes one architecture out of it)"
                        .into(),
                ));
            }
            FileKind::Archive => return Err(not_a_library("a static archive".into())),
            other => return Err(not_a_library(format!("a {other:?} file"))),
        };
        let damaged = |what: &str| PluginError::Damaged {
            path: path.to_owned(),
            found: format!("it starts as an {name} file and is {size} bytes long, but {what}"),
        };
        let object = object::File::parse(data).map_err(|error| damaged(&error.to_string()))?;
        if object.kind() != ObjectKind::Dynamic {
            let kind = format!("{:?}", object.kind()).to_lowercase();
            return Err(not_a_library(format!("an {name} file of the {kind} kind")));
        }
        // The loader maps segments without asking whether the file is long enough.
        for segment in object.segments() {
            let (offset, length) = segment.file_range();
            let end = offset.saturating_add(length);
            if end > size {
                return Err(damaged(&format!("a segment ends at byte {end}: it is truncated")));
            }
        }
        let mut sections = Vec::new();
        let mut descriptor = None;
        for section in object.sections() {
            let section_name =
                section.name().map_err(|error| damaged(&error.to_string()))?.to_owned();
            if section_name == SECTION || (name == "PE" && section_name == PE_SECTION) {
                let bytes = section.data().map_err(|error| damaged(&error.to_string()))?;
                descriptor = Some(bytes.to_vec());
            }
            sections.push(Section { name: section_name, bytes: section.size() });
        }
        Ok(Self {
            format: object.format(),
            architecture: object.architecture(),
            sections,
            descriptor,
        })
    }

    /// The descriptor, read.
    pub fn descriptor(&self, path: &Path) -> Result<Descriptor, PluginError> {
        let bytes = self
            .descriptor
            .as_deref()
            .ok_or_else(|| PluginError::NotAPlugin { path: path.to_owned(), section: SECTION })?;
        Descriptor::parse(bytes)
            .map_err(|found| PluginError::Descriptor { path: path.to_owned(), found })
    }

    /// Whether this host may load the plugin: platform, then interface, then panic strategy.
    pub fn accept(&self, path: &Path, descriptor: &Descriptor) -> Result<(), PluginError> {
        let runs_here = self.format == host_format()
            && host_architecture().is_none_or(|host| host == self.architecture);
        if !runs_here || descriptor.target != TARGET {
            return Err(PluginError::Platform {
                path: path.to_owned(),
                plugin: descriptor.name.clone(),
                found: format!("{} ({})", descriptor.target, self.machine()),
                accepted: format!("{TARGET} ({:?} {})", host_format(), std::env::consts::ARCH),
            });
        }
        let fix = interface_fix(descriptor.interface);
        if let Some(fix) = fix {
            let (major, minor) = descriptor.interface;
            return Err(PluginError::Interface {
                path: path.to_owned(),
                plugin: descriptor.name.clone(),
                found: format!("{major}.{minor}"),
                host: env!("CARGO_PKG_VERSION"),
                platform: TARGET,
                accepted: accepted_interfaces(),
                fix,
            });
        }
        if descriptor.panic != "unwind" {
            return Err(PluginError::PanicStrategy {
                path: path.to_owned(),
                plugin: descriptor.name.clone(),
                found: descriptor.panic.clone(),
                platform: TARGET,
            });
        }
        Ok(())
    }

    /// Format and processor.
    pub fn machine(&self) -> String {
        format!("{:?} {:?}", self.format, self.architecture).to_lowercase()
    }
}

fn accepted_interfaces() -> String {
    match INTERFACE {
        (major, 0) => format!("{major}.0"),
        (major, _) => format!("{major}.0 to {INTERFACE_TEXT}"),
    }
}

/// What to do about an interface version that this host does not take; nothing if it does.
fn interface_fix((major, minor): (u32, u32)) -> Option<String> {
    let (host_major, host_minor) = INTERFACE;
    if major < host_major {
        return Some(format!("rebuild the plugin against interface {INTERFACE_TEXT}"));
    }
    (major > host_major || minor > host_minor).then(|| {
        format!(
            "update hssl to a release with interface {major}.{minor}, or rebuild the plugin \
             against interface {INTERFACE_TEXT}"
        )
    })
}

fn host_format() -> BinaryFormat {
    if cfg!(windows) {
        BinaryFormat::Pe
    } else if cfg!(target_vendor = "apple") {
        BinaryFormat::MachO
    } else {
        BinaryFormat::Elf
    }
}

/// The host's processor, where its name is known; elsewhere the target triple decides alone.
fn host_architecture() -> Option<Architecture> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Architecture::X86_64),
        "aarch64" => Some(Architecture::Aarch64),
        "riscv64" => Some(Architecture::Riscv64),
        "loongarch64" => Some(Architecture::LoongArch64),
        "powerpc64" => Some(Architecture::PowerPc64),
        "s390x" => Some(Architecture::S390x),
        _ => None,
    }
}

/// In words, what a file is that no object format claims.
fn describe<'data>(data: impl ReadRef<'data>, size: u64) -> String {
    let start = data.read_bytes_at(0, size.min(512)).unwrap_or_default();
    match std::str::from_utf8(start) {
        Ok(text) if !text.contains('\0') => format!("a text file of {size} bytes"),
        _ => format!("{size} bytes of no known format"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_minor_versions_are_taken_and_newer_ones_are_not() {
        let (major, minor) = INTERFACE;
        assert_eq!(interface_fix((major, 0)), None);
        assert_eq!(interface_fix((major, minor)), None);
        assert!(interface_fix((major, minor + 1)).unwrap().contains("update hssl"));
        assert!(interface_fix((major + 1, 0)).unwrap().contains("update hssl"));
        assert!(interface_fix((major - 1, 9)).unwrap().contains("rebuild the plugin"));
    }
}
