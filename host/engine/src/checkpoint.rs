//! Checkpoints: a folder that is either whole or not there.
//!
//! A checkpoint is written beside its final name, synced, and renamed; the one before is removed only
//! after that. Whatever stops the process leaves the former or the new one intact.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hssl_tensor::{Array, DType, Device};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plugin::raw_bytes;

/// Tensors of a checkpoint.
pub const TENSORS: &str = "state.safetensors";
/// Where training stands.
pub const PROGRESS: &str = "progress.json";

/// Where training stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epoch that goes on.
    pub epoch: usize,
    /// Batches of that epoch that are done.
    pub batch: usize,
    /// Optimizer steps that are done.
    pub step: usize,
    /// Fingerprint of the training images.
    pub data: String,
}

/// Writes a checkpoint folder so that it appears whole.
///
/// # Errors
/// The disk is full or may not be written; what was there before stays.
pub fn write(folder: &Path, tensors: &[(String, Array)], progress: &Progress) -> Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Error::file(parent, "cannot create the folder", e))?;
    let temporary = sibling(folder, "writing");
    let former = sibling(folder, "former");
    remove(&temporary)?;
    fs::create_dir(&temporary)
        .map_err(|e| Error::file(&temporary, "cannot create the checkpoint folder", e))?;
    let written = write_tensors(&temporary.join(TENSORS), tensors, None).and_then(|()| {
        let text = serde_json::to_vec_pretty(progress).map_err(hssl_plugin_api::Error::from)?;
        write_file(&temporary.join(PROGRESS), &text)
    });
    if let Err(error) = written {
        // Room for the user's next attempt; the error is the one to report.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    sync_folder(&temporary)?;
    remove(&former)?;
    if folder.exists() {
        fs::rename(folder, &former).map_err(|e| Error::file(folder, "cannot be moved aside", e))?;
    }
    fs::rename(&temporary, folder).map_err(|e| Error::file(folder, "cannot be put in place", e))?;
    sync_folder(parent)?;
    remove(&former)
}

/// Reads a checkpoint; one that was being replaced when the process died is found under its
/// temporary name.
pub fn read(folder: &Path, device: &Device) -> Result<(HashMap<String, Array>, Progress)> {
    let former = sibling(folder, "former");
    let folder = if !folder.exists() && former.exists() { &former } else { folder };
    let path = folder.join(PROGRESS);
    let text = fs::read(&path).map_err(|e| Error::file(&path, "cannot read the checkpoint", e))?;
    let progress = serde_json::from_slice(&text)
        .map_err(|error| Error::content(&path, format!("no progress record: {error}")))?;
    Ok((read_tensors(&folder.join(TENSORS), device)?, progress))
}

/// Whether there is a checkpoint to read.
pub fn exists(folder: &Path) -> bool {
    folder.join(PROGRESS).exists() || sibling(folder, "former").join(PROGRESS).exists()
}

fn sibling(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{what}"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(folder, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    // Not every file system can sync a folder; what it holds has been synced already.
    let _ = File::open(folder).and_then(|file| file.sync_all());
    Ok(())
}

/// Writes a file and waits until it is on the disk.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::file(path, "cannot be written", e))
}

/// Makes sure that a file can be written at `path`, before the work whose result it is to hold; its
/// folder is made.
///
/// # Errors
/// `path` is a folder, or the folder that it lies in cannot be made or written to.
pub fn prepare_file(path: &Path) -> Result<()> {
    if path.is_dir() {
        let example = path.join("NAME.safetensors");
        return Err(Error::content(
            path,
            format!(
                "is a folder; expected the name of the file to write, such as {}",
                example.display()
            ),
        ));
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)
            .map_err(|e| Error::file(parent, "cannot create the folder", e))?;
    }
    let temporary = sibling(path, "writing");
    let tried = File::create(&temporary).and_then(|file| {
        drop(file);
        fs::remove_file(&temporary)
    });
    tried.map_err(|e| Error::file(path, "cannot be written", e))
}

/// Writes a file under a temporary name, syncs it, and renames it.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |temporary| write_file(temporary, bytes))
}

/// Writes named tensors as safetensors, synced, under a temporary name first.
pub fn write_weights(
    path: &Path,
    tensors: &[(String, Array)],
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    replace(path, |temporary| write_tensors(temporary, tensors, metadata))
}

/// Has a temporary file beside `path` written, and renames it; where that fails, none of it stays.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = sibling(path, "writing");
    let replaced = write(&temporary).and_then(|()| {
        fs::rename(&temporary, path).map_err(|e| Error::file(path, "cannot be put in place", e))
    });
    if replaced.is_err() {
        // Room for the user's next attempt; the error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

fn write_tensors(
    path: &Path,
    tensors: &[(String, Array)],
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, array) in tensors {
        buffers.push((name, dtype(array.dtype()), array.dims().to_vec(), raw_bytes(array)?));
    }
    let views = buffers.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data);
        view.map(|view| (name.as_str(), view))
    });
    let content = |e: safetensors::SafeTensorError| Error::content(path, e.to_string());
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(content)?;
    let bytes = safetensors::serialize(views, metadata).map_err(content)?;
    write_file(path, &bytes)
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::BF16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        DType::I64 => Dtype::I64,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
        _ => Dtype::F32,
    }
}

/// Reads all tensors of a safetensors file.
pub fn read_tensors(path: &Path, device: &Device) -> Result<HashMap<String, Array>> {
    let bytes = fs::read(path).map_err(|e| Error::file(path, "cannot be read", e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| {
        Error::content(path, format!("no safetensors file, or a truncated one: {error}"))
    })?;
    let array = |(name, view): (String, TensorView<'_>)| {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::BF16 => DType::BF16,
            Dtype::F16 => DType::F16,
            Dtype::I64 => DType::I64,
            Dtype::U32 => DType::U32,
            Dtype::U8 | Dtype::BOOL => DType::U8,
            other => {
                return Err(Error::content(
                    path,
                    format!("{name} has elements of type {other:?}, which are not supported"),
                ));
            }
        };
        let array = Array::from_raw_buffer(view.data(), dtype, view.shape(), device)
            .map_err(hssl_tensor::Error::from)?;
        Ok((name, array))
    };
    tensors.tensors().into_iter().map(array).collect()
}
