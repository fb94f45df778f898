//! Where a run computes.

pub use hssl_tensor::Device;
use hssl_tensor::cuda;

use crate::error::{Error, Result};

/// The device that a configuration names: `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// CUDA is named and this build or machine has none, or the name means nothing.
pub fn select(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" if cfg!(feature = "cuda") => Ok(cuda::open(0).unwrap_or(Device::Cpu)),
        "auto" => Ok(Device::Cpu),
        _ => {
            let ordinal = match name.split_once(':') {
                None if name == "cuda" => Some(0),
                Some(("cuda", ordinal)) => ordinal.parse().ok(),
                _ => None,
            };
            let Some(ordinal) = ordinal else {
                return Err(Error::Composition(format!(
                    "train.device is {name:?}; expected auto, cpu, cuda or cuda:N"
                )));
            };
            if !cfg!(feature = "cuda") {
                return Err(Error::Composition(format!(
                    "train.device is {name:?}, but this build of hssl has no CUDA; use the CUDA build, \
                     or train.device = \"cpu\""
                )));
            }
            cuda::open(ordinal)
                .map_err(|error| Error::Composition(format!("train.device is {name:?}: {error}")))
        }
    }
}

/// `cpu` or `cuda`.
pub fn name(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// Largest resident set of this process so far, MiB; on CUDA, device memory in use. 0 where the
/// system does not tell.
pub fn peak_mib(device: &Device) -> f64 {
    if device.is_cuda() {
        return cuda::memory_in_use().unwrap_or(0) as f64 / f64::from(1 << 20);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
