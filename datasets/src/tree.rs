//! The files of a set, whether they lie in a folder or in a tar archive.
//!
//! Formats read through a [`FileTree`], so each works unpacked and packed. A plain tar is indexed
//! once and read by position. A compressed one (`.tar.gz`, `.tar.zst`) has no positions: its
//! members are unpacked into memory, as they are (an encoded JPEG stays encoded).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Files by their path below the root, `/` between folders.
pub(crate) struct FileTree {
    place: String,
    files: BTreeMap<String, Extent>,
    store: Store,
}

/// Where a file's bytes are: unused in a folder, where its path says it.
#[derive(Clone, Copy)]
struct Extent {
    archive: u32,
    start: u64,
    size: u64,
}

enum Store {
    Folder(PathBuf),
    Archives(Vec<(PathBuf, File)>),
    Memory(Vec<u8>),
}

impl FileTree {
    /// All files below `root`. Links are followed; hidden files (a leading dot) are left out.
    pub(crate) fn folder(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut pending = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = pending.pop() {
            let listing = fs::read_dir(&folder).map_err(|e| Error::io("list", &folder, e))?;
            for entry in listing {
                let entry = entry.map_err(|e| Error::io("list", &folder, e))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    continue;
                }
                let path = entry.path();
                let mut kind = entry.file_type().map_err(|e| Error::io("read", &path, e))?;
                if kind.is_symlink() {
                    kind =
                        fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?.file_type();
                }
                if kind.is_dir() {
                    pending.push((path, format!("{prefix}{name}/")));
                } else {
                    let extent = Extent { archive: 0, start: 0, size: 0 };
                    files.insert(format!("{prefix}{name}"), extent);
                }
            }
        }
        let place = format!("folder {}", root.display());
        Ok(Self { place, files, store: Store::Folder(root.to_owned()) })
    }

    /// All files of the tar archives at `paths`, which are read as one.
    pub(crate) fn archives(paths: &[PathBuf]) -> Result<Self> {
        let place = match paths {
            [path] => format!("archive {}", path.display()),
            _ => format!("archives {} .. {}", paths[0].display(), paths[paths.len() - 1].display()),
        };
        let mut tree = Self { place, files: BTreeMap::new(), store: Store::Archives(Vec::new()) };
        if paths.iter().any(|path| Compression::of(path) != Compression::None) {
            tree.store = Store::Memory(Vec::new());
        }
        for (number, path) in paths.iter().enumerate() {
            // Shards may repeat each other's names.
            let stem = path.file_name().map_or("".into(), |name| name.to_string_lossy());
            let prefix = if paths.len() > 1 { format!("{stem}/") } else { String::new() };
            tree.add_archive(number as u32, path, &prefix)?;
        }
        Ok(tree)
    }

    fn add_archive(&mut self, number: u32, path: &Path, prefix: &str) -> Result<()> {
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                what: "archive",
                path: path.to_owned(),
                fix: "check the path (relative paths start at the config file's folder)".into(),
            },
            _ => Error::io("read", path, e),
        })?;
        let torn = |error: io::Error| Error::Format {
            file: path.display().to_string(),
            found: error.to_string(),
            expected: "a whole tar archive (.tar, .tar.gz, .tgz or .tar.zst)".into(),
        };
        let reader = BufReader::with_capacity(1 << 18, file.try_clone().map_err(torn)?);
        let reader: Box<dyn Read> = match Compression::of(path) {
            Compression::None => {
                // Seeks over the contents: indexing reads only the headers.
                let length = file.metadata().map_err(torn)?.len();
                let mut archive = tar::Archive::new(reader);
                for entry in archive.entries_with_seek().map_err(torn)? {
                    let mut entry = entry.map_err(torn)?;
                    let (start, size) = (entry.raw_file_position(), entry.size());
                    if entry.header().entry_type().is_file() && start + size > length {
                        return Err(torn(io::Error::other("a member reaches beyond its end")));
                    }
                    if let Store::Memory(bytes) = &mut self.store {
                        let start = bytes.len() as u64;
                        let name = member_name(&entry, prefix).map_err(torn)?;
                        let Some(name) = name else { continue };
                        entry.read_to_end(bytes).map_err(torn)?;
                        self.files.insert(name, Extent { archive: number, start, size });
                    } else if let Some(name) = member_name(&entry, prefix).map_err(torn)? {
                        self.files.insert(name, Extent { archive: number, start, size });
                    }
                }
                if let Store::Archives(archives) = &mut self.store {
                    archives.push((path.to_owned(), file));
                }
                return Ok(());
            }
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(torn)?),
        };
        let Store::Memory(bytes) = &mut self.store else { unreachable!("compressed") };
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(torn)? {
            let mut entry = entry.map_err(torn)?;
            let Some(name) = member_name(&entry, prefix).map_err(torn)? else { continue };
            let start = bytes.len() as u64;
            let size = entry.read_to_end(bytes).map_err(torn)? as u64;
            self.files.insert(name, Extent { archive: number, start, size });
        }
        bytes.shrink_to_fit();
        Ok(())
    }

    /// `folder /data/x` or `archive /data/x.tar`, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Paths in the order of their bytes.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Paths in the order of the archives, for shards.
    pub(crate) fn paths_as_stored(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.files.iter().collect();
        paths.sort_by_key(|(_, extent)| (extent.archive, extent.start));
        paths.into_iter().map(|(path, _)| path.as_str()).collect()
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Folders and files directly below `folder` (empty: the root).
    pub(crate) fn children(&self, folder: &str) -> Vec<String> {
        let mut children: Vec<String> = Vec::new();
        for path in self.paths() {
            let Some(rest) = below(path, folder) else { continue };
            let child = rest.split('/').next().unwrap_or(rest);
            if children.last().is_none_or(|last| last != child) {
                children.push(child.to_owned());
            }
        }
        children.dedup();
        children
    }

    /// True if a file lies below `folder`.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        let prefix = format!("{folder}/");
        self.files.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// The name of a file for the user: its path on disk, or archive and member.
    pub(crate) fn name(&self, path: &str) -> String {
        match &self.store {
            Store::Folder(root) => root.join(path).display().to_string(),
            Store::Archives(archives) => {
                let archive = self.files.get(path).map_or(0, |extent| extent.archive as usize);
                format!("{}:{path}", archives[archive].0.display())
            }
            Store::Memory(_) => format!("{}:{path}", self.place.trim_start_matches("archive ")),
        }
    }

    /// Bytes of a file; 0 if it cannot be told.
    pub(crate) fn size(&self, path: &str) -> u64 {
        match &self.store {
            Store::Folder(root) => fs::metadata(root.join(path)).map_or(0, |data| data.len()),
            _ => self.files.get(path).map_or(0, |extent| extent.size),
        }
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let missing = || Error::Missing {
            what: "file",
            path: PathBuf::from(self.name(path)),
            fix: "the set is incomplete: unpack or fetch it again".into(),
        };
        match &self.store {
            Store::Folder(root) => {
                let path = root.join(path);
                fs::read(&path).map_err(|e| match e.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => Error::io("read", &path, e),
                })
            }
            Store::Archives(archives) => {
                let extent = self.files.get(path).ok_or_else(missing)?;
                let (archive, file) = &archives[extent.archive as usize];
                let mut bytes = vec![0; extent.size as usize];
                read_at(file, &mut bytes, extent.start)
                    .map_err(|e| Error::io("read", archive, e))?;
                Ok(bytes)
            }
            Store::Memory(bytes) => {
                let extent = self.files.get(path).ok_or_else(missing)?;
                let start = extent.start as usize;
                Ok(bytes[start..start + extent.size as usize].to_vec())
            }
        }
    }

    pub(crate) fn read_text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?).map_err(|_| Error::Format {
            file: self.name(path),
            found: "bytes that are not UTF-8".into(),
            expected: "a text file".into(),
        })
    }

    /// The one folder that holds everything in an archive (`imagenette-160/...`).
    pub(crate) fn wrapper(&self) -> Option<String> {
        if matches!(self.store, Store::Folder(_)) {
            return None;
        }
        let mut children = self.children("");
        let only = children.pop()?;
        (children.is_empty() && self.has_folder(&only)).then_some(only)
    }
}

/// `path` relative to `folder`, if it lies below it.
pub(crate) fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

/// `folder/name`, without a slash at the root.
pub(crate) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

#[derive(PartialEq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &Path) -> Self {
        let name = path.to_string_lossy().to_ascii_lowercase();
        if name.ends_with(".gz") || name.ends_with(".tgz") {
            Self::Gzip
        } else if name.ends_with(".zst") || name.ends_with(".tzst") {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// The cleaned path of a member, if it is a file that is not hidden.
fn member_name<R: Read>(entry: &tar::Entry<'_, R>, prefix: &str) -> io::Result<Option<String>> {
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let path = entry.path()?;
    let parts: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let hidden = parts.iter().any(|part| part.starts_with('.'));
    Ok((!hidden && !parts.is_empty()).then(|| format!("{prefix}{}", parts.join("/"))))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, start)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        start += read as u64;
    }
    Ok(())
}
