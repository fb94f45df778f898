//! Kernels on a GPU: compiled by NVRTC, kept on disk, launched on candle's stream.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, SyncOnDrop, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{self, CompileOptions};
use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle_core::{Layout, Storage, cuda_backend::WrapErr};

use super::{Argument, Grid, Kernels};
use crate::{Array, Device, Error, Result};

/// What stands before each file.
const COMMON: &str = include_str!("common.cuh");

/// An argument as the driver takes it.
enum Value {
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
}

pub(super) fn launch(
    device: &CudaDevice,
    kernels: &'static Kernels,
    name: &str,
    grid: Grid,
    arguments: &[Argument<'_>],
) -> Result<()> {
    let ptx = compiled(device, kernels)?;
    let function = device.get_or_load_custom_func(name, kernels.file, &ptx)?;
    let stream = device.cuda_stream();
    // Where many arrays lie, in the GPU's memory.
    let lists = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Many(arrays) => Ok(Some(addresses(arrays, device)?)),
            _ => Ok(None),
        })
        .collect::<Result<Vec<_>>>()?;
    // Held until the kernel is in the stream, behind whatever wrote these arrays.
    let guards: Vec<_> = arguments
        .iter()
        .zip(&lists)
        .map(|(argument, list)| match argument {
            Argument::Read(array) | Argument::Write(array) => Some(array.storage_and_layout()),
            _ => list.as_ref().map(Array::storage_and_layout),
        })
        .collect();
    let mut values = Vec::with_capacity(arguments.len());
    let mut synchronised: Vec<SyncOnDrop<'_>> = Vec::new();
    for (argument, guard) in arguments.iter().zip(&guards) {
        values.push(match (argument, guard) {
            (Argument::Int(value), _) => Value::Int(*value),
            (Argument::Long(value), _) => Value::Long(*value),
            (Argument::Float(value), _) => Value::Float(*value),
            (_, Some((storage, layout))) => {
                let (address, sync) = address(storage, layout, &stream)?;
                synchronised.push(sync);
                Value::Pointer(address)
            }
            (_, None) => Value::Pointer(0),
        });
    }
    let mut builder = function.builder();
    for value in &values {
        match value {
            Value::Pointer(address) => builder.arg(address),
            Value::Int(value) => builder.arg(value),
            Value::Long(value) => builder.arg(value),
            Value::Float(value) => builder.arg(value),
        };
    }
    let size = |size: usize| u32::try_from(size).expect("a grid has less than 2^32 blocks");
    let config = LaunchConfig {
        grid_dim: grid.blocks.map(size).into(),
        block_dim: (size(grid.threads), 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments are those of the kernel's parameters, which the gradient gate runs on the
    // CPU with the same code; arrays are held until the launch is in the stream, and freed behind it.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Where an array's first element lies, and what tells the stream that it is used.
fn address<'a>(
    storage: &'a Storage,
    layout: &Layout,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    macro_rules! of_types {
        ($storage:expr, $($kind:ident)*) => {
            match &$storage.slice {
                $(CudaStorageSlice::$kind(slice) => {
                    let (address, sync) = slice.device_ptr(stream);
                    Ok((address + bytes(slice, layout.start_offset()), sync))
                })*
                _ => Err(candle_core::Error::Msg("a kernel was given another type".into()).into()),
            }
        };
    }
    match storage {
        Storage::Cuda(storage) => of_types!(storage, F32 F64 BF16 F16 I64 U32 U8),
        _ => {
            Err(candle_core::Error::Msg("a kernel was given an array in CPU memory".into()).into())
        }
    }
}

/// Where many arrays lie, whose owner holds them until the kernel is in the stream; 0 for none.
fn addresses(arrays: &[Option<&Array>], device: &CudaDevice) -> Result<Array> {
    let stream = device.cuda_stream();
    let found = arrays
        .iter()
        .map(|array| {
            let Some(array) = array else { return Ok(0) };
            let (storage, layout) = array.storage_and_layout();
            Ok(address(&storage, layout, &stream)?.0.cast_signed())
        })
        .collect::<Result<Vec<i64>>>()?;
    super::upload(&found, found.len(), &Device::Cuda(device.clone()))
}

fn bytes<T: DeviceRepr>(_: &CudaSlice<T>, elements: usize) -> u64 {
    (elements * size_of::<T>()) as u64
}

/// The PTX of a file for the device at hand: compiled once for this process, and once for all on this
/// machine where a folder for caches can be written.
fn compiled(device: &CudaDevice, kernels: &'static Kernels) -> Result<Arc<str>> {
    /// By file and number of the device.
    static DONE: Mutex<Option<HashMap<(&str, usize), Arc<str>>>> = Mutex::new(None);
    let number = device.cuda_stream().context().ordinal();
    let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let done = done.get_or_insert_default();
    if let Some(ptx) = done.get(&(kernels.file, number)) {
        return Ok(ptx.clone());
    }
    let capability = capability(device)?;
    let text = text(kernels);
    let file = folder().and_then(|folder| {
        let mut hasher = DefaultHasher::new();
        (&text, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
        let name = Path::new(kernels.file).file_stem()?.to_str()?;
        Some(folder.join(format!("{name}-sm{capability}-{:016x}.ptx", hasher.finish())))
    });
    let kept = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
    let ptx = match kept.filter(|ptx| ptx.contains(".visible .entry") && ptx.ends_with(END)) {
        Some(ptx) => ptx,
        None => {
            let ptx = compile(&text, kernels.file, capability)? + END;
            if let Some(file) = &file {
                keep(file, &ptx);
            }
            ptx
        }
    };
    let ptx: Arc<str> = ptx.into();
    done.insert((kernels.file, number), ptx.clone());
    Ok(ptx)
}

/// The last line of a file that was written whole.
const END: &str = "\n// end\n";

/// A file with what it shares with others.
fn text(kernels: &Kernels) -> String {
    format!("{COMMON}\n#line 1 \"{}\"\n{}", kernels.file, kernels.text)
}

fn compile(text: &str, file: &str, capability: u32) -> Result<String> {
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture=compute_{capability}")],
        ..CompileOptions::default()
    };
    let ptx = nvrtc::compile_ptx_with_opts(text, options);
    Ok(ptx.map_err(|error| Error::attribute("CUDA", format!("{file}: {error:?}")))?.to_src())
}

/// 90 for a GPU of compute capability 9.0.
fn capability(device: &CudaDevice) -> Result<u32> {
    use sys::CUdevice_attribute as Attribute;
    let stream = device.cuda_stream();
    let of = |attribute| stream.context().attribute(attribute).w();
    let major = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok((major * 10 + minor) as u32)
}

/// Where compiled kernels are kept, if the system has a place for caches.
fn folder() -> Option<PathBuf> {
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches =
        caches.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(caches.join("hssl").join("kernels"))
}

/// Without it, the next process compiles again; so failures are not told.
fn keep(file: &Path, ptx: &str) {
    let Some(folder) = file.parent() else { return };
    let temporary = file.with_extension(format!("{}.part", std::process::id()));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, ptx));
    if written.and_then(|()| fs::rename(&temporary, file)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NVRTC needs no GPU.
    #[test]
    fn every_file_of_kernels_compiles() {
        for capability in [80, 90] {
            for kernels in super::super::files::ALL {
                let ptx = compile(&text(kernels), kernels.file, capability).unwrap();
                assert!(ptx.contains(".visible .entry"), "{} has no kernel", kernels.file);
            }
        }
    }
}
