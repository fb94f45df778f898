//! What the host sends: by way of page-locked memory, so that it neither waits for the GPU nor the GPU for
//! it. A copy from other memory would first wait for all that the GPU has still to do.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytemuck::Pod;
use candle_core::cuda_backend::cudarc::driver::result::memcpy_htod_async;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, DevicePtrMut, DeviceRepr, PinnedHostSlice,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage, WrapErr};

use crate::Result;

/// Page-locked memory, and when what was last copied from it is on the GPU.
struct Staging {
    memory: PinnedHostSlice<u8>,
    copied: CudaEvent,
}

/// Most pieces of one size for a GPU. A copy that waits for the GPU's other work keeps its piece, and the
/// host takes another one.
const PIECES: usize = 8;

/// By number of the GPU and bytes, a power of two; the one to be written next is the first.
static STAGING: Mutex<Option<HashMap<(usize, usize), VecDeque<Staging>>>> = Mutex::new(None);

/// Numbers in new memory of a GPU, once its stream comes to it.
pub(super) fn upload<T: CudaDType + DeviceRepr + Pod>(
    values: &[T],
    device: &CudaDevice,
) -> Result<CudaStorage> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let size = bytes.len().next_power_of_two().max(4096);
    let mut staging = STAGING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pieces = staging.get_or_insert_default().entry((context.ordinal(), size)).or_default();
    let is_done = |piece: &Staging| piece.copied.is_complete();
    let takes_first = pieces.len() >= PIECES || pieces.front().is_some_and(is_done);
    let mut piece = match takes_first.then(|| pieces.pop_front()).flatten() {
        Some(piece) => piece,
        None => {
            // SAFETY: bytes are written before they are read.
            let memory = unsafe { context.alloc_pinned_with_flags(size, 0) }.w()?;
            Staging { memory, copied: context.new_event(None).w()? }
        }
    };
    piece.copied.synchronize().w()?;
    let host = &mut piece.memory.as_mut_slice().w()?[..bytes.len()];
    host.copy_from_slice(bytes);
    // SAFETY: all of it is written by the copy, before anything else in the stream.
    let mut target = unsafe { stream.alloc::<T>(values.len()) }.w()?;
    {
        let (address, _written) = target.device_ptr_mut(&stream);
        // SAFETY: the target is as long, and nobody writes the piece before the event has passed.
        unsafe { memcpy_htod_async(address, host, stream.cu_stream()) }.w()?;
    }
    piece.copied.record(&stream).w()?;
    pieces.push_back(piece);
    Ok(CudaStorage::wrap_cuda_slice(target, device.clone()))
}
