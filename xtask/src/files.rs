//! Files and folders.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};

/// Copies a file into a folder, which is made if need be.
pub fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().with_context(|| format!("{} has no name", file.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(file, folder.join(name))
        .with_context(|| format!("cannot copy {} to {}", file.display(), folder.display()))?;
    Ok(())
}

/// Copies what lies in a folder into another.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in from.read_dir().with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            copy_folder(&path, &to.join(path.file_name().unwrap_or_default()))?;
        } else {
            copy(&path, to)?;
        }
    }
    Ok(())
}

/// A file, or all files below a folder.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in path.read_dir().with_context(|| format!("cannot list {}", path.display()))? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

/// Bytes of a file, or of all files below a folder.
pub fn size(path: &Path) -> Result<u64> {
    let mut sum = 0;
    for file in files(path)? {
        sum += file.metadata().with_context(|| file.display().to_string())?.len();
    }
    Ok(sum)
}

/// Packs folders, each under a name of its own, into a gzipped tar archive.
pub fn pack(archive: &Path, folders: &[(PathBuf, &str)]) -> Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot make {}", archive.display()))?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (folder, name) in folders {
        tar.append_dir_all(name, folder)
            .with_context(|| format!("cannot pack {}", folder.display()))?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}
