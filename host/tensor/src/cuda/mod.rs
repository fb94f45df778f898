//! CUDA kernels of our own, and how they are launched.
//!
//! A kernel lies in a `.cu` file beside the operation that it serves. [`Kernels`] names such a file, and
//! [`launch()`](launch::launch) runs one of its kernels: NVRTC compiles the text when it is first needed,
//! for the GPU at hand, and what comes out is kept on disk. Operations ask [`takes`] whether there is a
//! kernel for an array, and compute by candle's operations where there is none.
//!
//! The tests run the same kernels, launched by the same code, without a GPU: a C++ compiler makes them
//! functions of the processor (`tests/emulator`), and the gradient gate knows this as one more way to
//! compute.

#![cfg_attr(
    not(feature = "cuda"),
    allow(dead_code, unused_variables, reason = "without CUDA, only the tests launch anything")
)]

mod augment;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(test)]
pub(crate) mod emulated;
pub(crate) mod files;
mod launch;
#[cfg(feature = "cuda")]
mod memory;
mod shapes;
mod sums;
#[cfg(feature = "cuda")]
mod upload;
mod views;

pub use augment::{Recipes, make_views};
pub(crate) use launch::{Argument, Grid, Kernels, empty, is_packed, kernel, launch};
pub(crate) use shapes::{differentiate_rows, map_all, map_rows, zip_all};
pub(crate) use sums::{column_sums, sum};
pub use views::normalised;

use candle_core::{Shape, WithDType};

use crate::{Array, DType, Device, Result, mode};

/// Numbers that the host sends to a device.
#[cfg(not(feature = "cuda"))]
pub trait Sent: WithDType + bytemuck::Pod {}
/// Numbers that the host sends to a device.
#[cfg(feature = "cuda")]
pub trait Sent:
    WithDType
    + bytemuck::Pod
    + candle_core::cuda_backend::CudaDType
    + candle_core::cuda_backend::cudarc::driver::DeviceRepr
{
}
impl Sent for u8 {}
impl Sent for u32 {}
impl Sent for i64 {}
impl Sent for f32 {}

/// Opens a GPU.
///
/// # Errors
/// There is no such device, or this build has no CUDA.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda(ordinal)?;
    #[cfg(feature = "cuda")]
    memory::keep_freed(ordinal);
    Ok(device)
}

/// Numbers on a device. A GPU gets them in the order of its work, without waiting for its host or making
/// it wait.
///
/// # Errors
/// They are not as many as the shape says, or the device failed.
pub fn upload<T: Sent>(values: &[T], shape: impl Into<Shape>, device: &Device) -> Result<Array> {
    let shape = shape.into();
    #[cfg(feature = "cuda")]
    if let (Device::Cuda(device), true) =
        (device, values.len() == shape.elem_count() && !values.is_empty())
    {
        let storage = candle_core::Storage::Cuda(upload::upload(values, device)?);
        let op = candle_core::op::BackpropOp::none();
        return Ok(Array::from_storage(storage, shape, op, false));
    }
    Ok(Array::from_slice(values, shape, device)?)
}

/// Memory in use on the current GPU, bytes, by all processes; `None` where there is none.
pub fn memory_in_use() -> Option<usize> {
    #[cfg(feature = "cuda")]
    return memory::memory_in_use();
    #[cfg(not(feature = "cuda"))]
    None
}

/// Whether a kernel of ours may take this array: it lies on a GPU, its elements are f32, bf16 or f16,
/// and the mode does not ask for candle's operations.
pub(crate) fn takes(array: &Array) -> bool {
    #[cfg(test)]
    let here = emulated::is_on() || (array.device().is_cuda() && !mode::current().portable);
    #[cfg(not(test))]
    let here = array.device().is_cuda() && !mode::current().portable;
    here && array.elem_count() > 0 && matches!(array.dtype(), DType::F32 | DType::BF16 | DType::F16)
}
