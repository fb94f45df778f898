//! Files and folders.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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

/// Bytes of a file, or of all files below a folder.
pub fn size(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(path.metadata().with_context(|| path.display().to_string())?.len());
    }
    let mut sum = 0;
    for entry in path.read_dir().with_context(|| format!("cannot list {}", path.display()))? {
        sum += size(&entry?.path())?;
    }
    Ok(sum)
}
