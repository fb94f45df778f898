//! The GPU's memory.

use std::ffi::c_void;

use candle_core::cuda_backend::cudarc::driver::result::{device, mem_get_info, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;

/// Memory in use on the current device, bytes, by all processes.
pub(super) fn memory_in_use() -> Option<usize> {
    mem_get_info().ok().map(|(free, total)| total - free)
}

/// What is freed on a device stays with the process: otherwise the driver takes it back whenever the host
/// waits for the device, and each step asks for all of its memory again. A driver without pools does as it
/// does.
pub(super) fn keep_freed(ordinal: usize) {
    let Ok(ordinal) = i32::try_from(ordinal) else { return };
    let mut bytes = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: a pool lives as long as the driver; the attribute is a u64, which the call reads.
    // Where it fails, steps are slower and no less right.
    let _ = device::get(ordinal).and_then(|device| unsafe {
        let pool = device::get_default_mem_pool(device)?;
        mem_pool::set_attribute(pool, attribute, (&raw mut bytes).cast::<c_void>())
    });
}
