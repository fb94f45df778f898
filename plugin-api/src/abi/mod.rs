//! The boundary between host and plugin.
//!
//! Hot path (handles, [`Host::dispatch`]): plain `#[repr(C)]`. Cold path (construction, manifests,
//! configuration, reports): JSON in a [`Message`]. A table only ever grows at its end, and its first
//! word is its size, so that a plugin can tell whether an older host has what it wants to call.
//!
//! Ownership: a [`Bytes`] or [`Handles`] carries the function that frees it, from the side that
//! allocated it. A tensor handle inside a request is borrowed for the call; one inside a reply
//! belongs to the receiver.

pub mod descriptor;
pub mod method;
pub mod root;

use std::ffi::c_void;

/// The interface version, its own and not the release's. 1.y hosts take 1.x plugins for x <= y.
pub const INTERFACE: (u32, u32) = (1, 0);
/// [`INTERFACE`] as text.
pub const INTERFACE_TEXT: &str = "1.0";

/// A tensor of the host, opaque to the plugin.
pub type Handle = *const c_void;

/// Bytes and the function of their owner that frees them.
#[repr(C)]
#[derive(Debug)]
pub struct Bytes {
    data: *mut u8,
    len: usize,
    capacity: usize,
    free: Option<unsafe extern "C" fn(*mut u8, usize, usize)>,
}

unsafe extern "C" fn free_bytes(data: *mut u8, len: usize, capacity: usize) {
    // SAFETY: only called by `Bytes::drop` with the parts of a Vec of this copy of the crate.
    drop(unsafe { Vec::from_raw_parts(data, len, capacity) });
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null_mut(), len: 0, capacity: 0, free: None };

    /// Takes a vector apart.
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self {
            data: bytes.as_mut_ptr(),
            len: bytes.len(),
            capacity: bytes.capacity(),
            free: Some(free_bytes),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: `data` and `len` are those of a live allocation of the side that made this value.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    /// The bytes as text; foreign text is not trusted to be UTF-8.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(self.as_slice()).into_owned()
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: `free` came with exactly these parts and is taken, so it runs once.
            unsafe { free(self.data, self.len, self.capacity) }
        }
    }
}

// SAFETY: plain owned bytes; the freeing function is thread-safe as every allocator's is.
unsafe impl Send for Bytes {}

/// A list of tensor handles and the function of its owner that frees the list (not the tensors).
#[repr(C)]
#[derive(Debug)]
pub struct Handles {
    data: *mut Handle,
    len: usize,
    capacity: usize,
    free: Option<unsafe extern "C" fn(*mut Handle, usize, usize)>,
}

unsafe extern "C" fn free_handles(data: *mut Handle, len: usize, capacity: usize) {
    // SAFETY: only called by `Handles::drop` with the parts of a Vec of this copy of the crate.
    drop(unsafe { Vec::from_raw_parts(data, len, capacity) });
}

impl Handles {
    /// No handles.
    pub const EMPTY: Self = Self { data: std::ptr::null_mut(), len: 0, capacity: 0, free: None };

    /// Takes a vector apart.
    pub fn new(handles: Vec<Handle>) -> Self {
        let mut handles = std::mem::ManuallyDrop::new(handles);
        Self {
            data: handles.as_mut_ptr(),
            len: handles.len(),
            capacity: handles.capacity(),
            free: Some(free_handles),
        }
    }

    /// The handles.
    pub fn as_slice(&self) -> &[Handle] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: `data` and `len` are those of a live allocation of the side that made this value.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: `free` came with exactly these parts and is taken, so it runs once.
            unsafe { free(self.data, self.len, self.capacity) }
        }
    }
}

/// A JSON text and the tensors that it names by position.
#[repr(C)]
#[derive(Debug)]
pub struct Message {
    /// UTF-8 JSON.
    pub json: Bytes,
    /// The tensors.
    pub tensors: Handles,
}

impl Message {
    /// Nothing said.
    pub const EMPTY: Self = Self { json: Bytes::EMPTY, tensors: Handles::EMPTY };
}

/// Returned by entry points: all is well and the reply is filled in.
pub const OK: i32 = 0;
/// Returned by entry points: it failed, and the reply's JSON is the error text.
pub const FAILED: i32 = 1;
/// Returned by entry points of a plugin: it panicked, and the reply's JSON is the panic's text.
pub const PANICKED: i32 = 2;

/// A body that the host may run again to recompute a block (activation checkpointing).
#[repr(C)]
#[derive(Debug)]
pub struct Body {
    /// State of the body; owned.
    pub state: *mut c_void,
    /// Runs the body: borrowed inputs; the reply's tensors belong to the caller.
    pub run: unsafe extern "C" fn(*mut c_void, *const Handle, usize, *mut Message) -> i32,
    /// Frees the state.
    pub free: unsafe extern "C" fn(*mut c_void),
}

/// What the host offers. Lives as long as the process.
#[repr(C)]
#[derive(Debug)]
pub struct Host {
    /// Size of the table in bytes: what lies beyond is not there.
    pub size: usize,
    /// Another owner of a tensor.
    pub clone: unsafe extern "C" fn(Handle) -> Handle,
    /// One owner less.
    pub drop: unsafe extern "C" fn(Handle),
    /// Writes up to `capacity` sizes and returns the rank.
    pub shape: unsafe extern "C" fn(Handle, *mut usize, usize) -> usize,
    /// Element type, as the operation list numbers it.
    pub dtype: unsafe extern "C" fn(Handle) -> u32,
    /// Computes one operation: id, attribute words, borrowed inputs; up to `capacity` outputs are
    /// written, and their number returned. Negative: failed, and the error text is written.
    #[allow(clippy::type_complexity)]
    pub dispatch: unsafe extern "C" fn(
        op: u32,
        words: *const i64,
        word_count: usize,
        inputs: *const Handle,
        input_count: usize,
        outputs: *mut Handle,
        capacity: usize,
        error: *mut Bytes,
    ) -> i32,
    /// A tensor on the current device from host memory: element type, shape, data in row-major order.
    pub from_data: unsafe extern "C" fn(
        dtype: u32,
        dims: *const usize,
        rank: usize,
        data: *const u8,
        len: usize,
        output: *mut Handle,
        error: *mut Bytes,
    ) -> i32,
    /// The elements in row-major order.
    pub read: unsafe extern "C" fn(Handle, output: *mut Bytes, error: *mut Bytes) -> i32,
    /// A service of the current call's context (see [`method::host`]). Borrowed request, owned reply.
    pub call: unsafe extern "C" fn(*const c_void, u32, *const Message, *mut Message) -> i32,
    /// Runs a body without keeping its intermediates; see [`Body`].
    pub checkpoint: unsafe extern "C" fn(*const Handle, usize, *const Body, *mut Message) -> i32,
    /// Calls `body(state, i)` for i in 0..n on the host's threads; returns when all are done.
    pub parallel: unsafe extern "C" fn(
        n: usize,
        state: *mut c_void,
        body: unsafe extern "C" fn(*mut c_void, usize),
    ),
}
