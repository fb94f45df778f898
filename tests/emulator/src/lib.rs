//! CUDA kernels as functions of the processor: the same text, compiled as C++.
//!
//! A block's threads are fibers, which stop at barriers and where lanes of a warp exchange values;
//! blocks run one after the other. So results are those of a GPU but for rounding in `exp` and its like.
//! What cannot be seen here: races between blocks and warps that no barrier orders, misaligned reads,
//! and speed.
#![cfg(feature = "kernels")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Mutex;

/// What a kernel is given.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A pointer.
    Pointer(*mut c_void),
    /// An `int`.
    Int(i32),
    /// A `long long`.
    Long(i64),
    /// A `float`.
    Float(f32),
}

unsafe extern "C" {
    /// Null, or what went wrong.
    fn emulator_launch(
        name: *const c_char,
        blocks: *const u32,
        threads: u32,
        kinds: *const c_char,
        arguments: *const *const c_void,
        count: usize,
    ) -> *const c_char;
}

/// Runs a kernel to its end.
///
/// # Errors
/// No kernel has this name, it has other parameters, or its threads wait for each other.
///
/// # Safety
/// The kernel stays within what the pointers lead to.
pub unsafe fn launch(
    name: &str,
    blocks: [usize; 3],
    threads: usize,
    arguments: &[Argument],
) -> Result<(), String> {
    // Shared memory is one for all.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let c_name = CString::new(name).map_err(|error| error.to_string())?;
    let size = |size: usize| u32::try_from(size).map_err(|error| error.to_string());
    let blocks = [size(blocks[0])?, size(blocks[1])?, size(blocks[2])?];
    let mut kinds = Vec::with_capacity(arguments.len());
    let mut places: Vec<*const c_void> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let (kind, place) = match argument {
            Argument::Pointer(value) => (b'p', std::ptr::from_ref(value).cast()),
            Argument::Int(value) => (b'i', std::ptr::from_ref(value).cast()),
            Argument::Long(value) => (b'l', std::ptr::from_ref(value).cast()),
            Argument::Float(value) => (b'f', std::ptr::from_ref(value).cast()),
        };
        kinds.push(kind as c_char);
        places.push(place);
    }
    // SAFETY: all pointers are to values that live until the call returns; the caller answers for the
    // kernel's own.
    let wrong = unsafe {
        emulator_launch(
            c_name.as_ptr(),
            blocks.as_ptr(),
            size(threads)?,
            kinds.as_ptr(),
            places.as_ptr(),
            places.len(),
        )
    };
    if wrong.is_null() {
        return Ok(());
    }
    // SAFETY: it is a constant of the other side.
    let wrong = unsafe { CStr::from_ptr(wrong) };
    Err(format!("the kernel {name}: {}", wrong.to_string_lossy()))
}
