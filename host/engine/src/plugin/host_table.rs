//! The table of functions that plugins call, on the tensor runtime.
//!
//! A handle is a boxed [`hssl_tensor::Tensor`]. Nothing here may unwind into a plugin: every function
//! catches panics and turns them into error texts.

use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hssl_plugin_api::abi::{self, Body, Bytes, Handle, Handles, Host, Message};
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api, Error as ApiError};
use hssl_tensor::{Array, DType, Device, Error, Op, Tensor, dispatch, from_wire, mode, to_wire};

use super::work;

/// What a component may ask for during one call; see [`hssl_plugin_api::abi::method::host`].
pub trait Services {
    /// Answers a request.
    fn call(&mut self, method: u32, request: Envelope) -> api::Result<Envelope>;
}

/// The context pointer's target.
pub(super) struct CallContext<'a> {
    services: RefCell<&'a mut dyn Services>,
}

impl<'a> CallContext<'a> {
    pub(super) fn new(services: &'a mut dyn Services) -> Self {
        Self { services: RefCell::new(services) }
    }

    pub(super) fn as_raw(&self) -> *const c_void {
        std::ptr::from_ref(self).cast()
    }
}

thread_local! {
    static DEVICE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// Runs `body` with `device` as the place where components create tensors.
pub fn on_device<T>(device: &Device, body: impl FnOnce() -> T) -> T {
    struct Restore(Device);
    impl Drop for Restore {
        fn drop(&mut self) {
            DEVICE.set(self.0.clone());
        }
    }
    let _restore = Restore(DEVICE.replace(device.clone()));
    body()
}

fn current_device() -> Device {
    DEVICE.with_borrow(Clone::clone)
}

/// The host's table.
pub static HOST: Host = Host {
    size: std::mem::size_of::<Host>(),
    clone: clone_handle,
    drop: drop_handle,
    shape,
    dtype,
    dispatch: dispatch_op,
    from_data,
    read,
    call,
    checkpoint,
    parallel,
};

/// Hands a tensor to plugins.
pub fn export(tensor: &Tensor) -> api::Tensor {
    // SAFETY: a fresh handle whose one count goes to the new value.
    unsafe { api::Tensor::from_handle(into_handle(tensor.clone()), &HOST) }
}

/// The host's view of a plugin's tensor.
pub fn import(tensor: &api::Tensor) -> Tensor {
    // SAFETY: all tensors of this process come from `HOST`, and the handle is live.
    unsafe { borrow(tensor.handle()) }.clone()
}

fn into_handle(tensor: Tensor) -> Handle {
    Box::into_raw(Box::new(tensor)).cast_const().cast()
}

/// # Safety
/// `handle` is live.
unsafe fn borrow<'a>(handle: Handle) -> &'a Tensor {
    // SAFETY: handles are boxed tensors.
    unsafe { &*handle.cast::<Tensor>() }
}

unsafe extern "C" fn clone_handle(handle: Handle) -> Handle {
    // SAFETY: live by the interface's rules.
    into_handle(unsafe { borrow(handle) }.clone())
}

unsafe extern "C" fn drop_handle(handle: Handle) {
    // A failing device must not unwind into the plugin.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller gives up its count, and each handle is one box.
        drop(unsafe { Box::from_raw(handle.cast_mut().cast::<Tensor>()) });
    }));
}

unsafe extern "C" fn shape(handle: Handle, dims: *mut usize, capacity: usize) -> usize {
    // SAFETY: live by the interface's rules.
    let shape = unsafe { borrow(handle) }.dims();
    for (i, size) in shape.iter().take(capacity).enumerate() {
        // SAFETY: `dims` has room for `capacity` sizes.
        unsafe { dims.add(i).write(*size) };
    }
    shape.len()
}

fn dtype_code(dtype: DType) -> u32 {
    use hssl_ops::Attribute;
    let mut words = Vec::new();
    if let Some(dtype) = to_wire(dtype) {
        dtype.put(&mut words);
    }
    words.first().map_or(u32::MAX, |word| *word as u32)
}

fn dtype_of(code: u32) -> Result<DType, Error> {
    use hssl_ops::{Attribute, Words};
    hssl_ops::DType::take(&mut Words::new(&[i64::from(code)]))
        .map(from_wire)
        .ok_or_else(|| Error::Callback(format!("element type {code} is unknown to this host")))
}

unsafe extern "C" fn dtype(handle: Handle) -> u32 {
    // SAFETY: live by the interface's rules.
    dtype_code(unsafe { borrow(handle) }.dtype())
}

/// Runs `body`; a panic becomes an error.
fn guarded<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the host panicked: {}", panic_text(&*panic))),
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

unsafe extern "C" fn dispatch_op(
    op: u32,
    words: *const i64,
    word_count: usize,
    inputs: *const Handle,
    input_count: usize,
    outputs: *mut Handle,
    capacity: usize,
    error: *mut Bytes,
) -> i32 {
    let result = guarded(|| {
        // SAFETY: the plugin passes live slices of these lengths.
        let (words, handles) = unsafe { (slice(words, word_count), slice(inputs, input_count)) };
        let op = Op::decode(op, words).ok_or_else(|| {
            Error::Callback(format!(
                "operation {op} with {word_count} attribute words is unknown to this host; the plugin \
                 was built for a newer one"
            ))
        })?;
        // SAFETY: live handles.
        let inputs: Vec<&Tensor> =
            handles.iter().map(|handle| unsafe { borrow(*handle) }).collect();
        let device = inputs.first().map_or_else(current_device, |tensor| tensor.device());
        let results = dispatch(&op, &inputs, &device)?;
        work::note(&op, &inputs, &results);
        if results.len() > capacity {
            return Err(Error::Callback(format!("{} has {} results", op.name(), results.len())));
        }
        Ok(results)
    });
    match result {
        Ok(results) => {
            let count = results.len();
            for (i, result) in results.into_iter().enumerate() {
                // SAFETY: `outputs` has room for `capacity` handles.
                unsafe { outputs.add(i).write(into_handle(result)) };
            }
            count as i32
        }
        Err(message) => {
            // SAFETY: `error` points to empty bytes.
            unsafe { error.write(message.into()) };
            -1
        }
    }
}

/// # Safety
/// `data` points to `len` elements, or `len` is 0.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(data, len) }
}

unsafe extern "C" fn from_data(
    dtype: u32,
    dims: *const usize,
    rank: usize,
    data: *const u8,
    len: usize,
    output: *mut Handle,
    error: *mut Bytes,
) -> i32 {
    let result = guarded(|| {
        // SAFETY: the plugin passes live slices of these lengths.
        let (dims, data) = unsafe { (slice(dims, rank), slice(data, len)) };
        let dtype = dtype_of(dtype)?;
        let expected = dims.iter().product::<usize>() * dtype.size_in_bytes();
        if expected != len {
            return Err(Error::Callback(format!(
                "{len} bytes for the shape {dims:?} of {dtype:?}; expected {expected}"
            )));
        }
        Ok(Array::from_raw_buffer(data, dtype, dims, &current_device())?)
    });
    match result {
        Ok(array) => {
            // SAFETY: `output` is the plugin's out-pointer.
            unsafe { output.write(into_handle(Tensor::constant(array))) };
            abi::OK
        }
        Err(message) => {
            // SAFETY: `error` points to empty bytes.
            unsafe { error.write(message.into()) };
            abi::FAILED
        }
    }
}

/// The elements of an array in row-major order, as bytes.
pub(crate) fn raw_bytes(array: &Array) -> Result<Vec<u8>, Error> {
    let array = array.to_device(&Device::Cpu)?.flatten_all()?;
    macro_rules! bytes {
        ($($dtype:ident => $type:ty),*) => {
            match array.dtype() {
                $( DType::$dtype => {
                    array.to_vec1::<$type>()?.iter().flat_map(|x| x.to_ne_bytes()).collect()
                } )*
                other => return Err(Error::Callback(format!("elements of {other:?} cannot be read"))),
            }
        };
    }
    Ok(
        bytes!(F32 => f32, F64 => f64, I64 => i64, U32 => u32, U8 => u8, BF16 => half::bf16, F16 => half::f16),
    )
}

unsafe extern "C" fn read(handle: Handle, output: *mut Bytes, error: *mut Bytes) -> i32 {
    // SAFETY: live by the interface's rules.
    match guarded(|| raw_bytes(&unsafe { borrow(handle) }.array())) {
        Ok(bytes) => {
            // SAFETY: `output` points to empty bytes.
            unsafe { output.write(Bytes::new(bytes)) };
            abi::OK
        }
        Err(message) => {
            // SAFETY: `error` points to empty bytes.
            unsafe { error.write(message.into()) };
            abi::FAILED
        }
    }
}

unsafe extern "C" fn call(
    context: *const c_void,
    method: u32,
    request: *const Message,
    reply: *mut Message,
) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the context of a call that is still running.
        let context = unsafe { &*context.cast::<CallContext<'_>>() };
        // SAFETY: the request is lent for this call, and its handles are ours.
        let request = unsafe { Envelope::borrow(&*request, &HOST)? };
        let mut services = context
            .services
            .try_borrow_mut()
            .map_err(|_| ApiError::Host("a service was called from within a service".to_owned()))?;
        services.call(method, request)?.give()
    }));
    let (status, message) = match result {
        Ok(Ok(message)) => (abi::OK, message),
        Ok(Err(error)) => (abi::FAILED, error_message(error.to_string())),
        Err(panic) => {
            (abi::FAILED, error_message(format!("the host panicked: {}", panic_text(&*panic))))
        }
    };
    // SAFETY: `reply` points to an empty message.
    unsafe { reply.write(message) };
    status
}

fn error_message(text: String) -> Message {
    Message { json: text.into(), tensors: Handles::EMPTY }
}

/// A plugin's body, freed with the last closure that may run it.
struct OwnedBody(Body);

// SAFETY: the SDK makes bodies of closures that are Send; the tape runs them on one thread at a time.
unsafe impl Send for OwnedBody {}

impl Drop for OwnedBody {
    fn drop(&mut self) {
        // SAFETY: the body was given to the host, which frees it once.
        unsafe { (self.0.free)(self.0.state) }
    }
}

impl OwnedBody {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        let handles: Vec<Handle> =
            inputs.iter().map(|tensor| std::ptr::from_ref(tensor).cast()).collect();
        let mut reply = Message::EMPTY;
        // SAFETY: the handles are live during the call; a borrowed handle is a pointer to a tensor.
        let status =
            unsafe { (self.0.run)(self.0.state, handles.as_ptr(), handles.len(), &mut reply) };
        let outputs: Vec<Tensor> = reply
            .tensors
            .as_slice()
            .iter()
            // SAFETY: a reply's handles are boxes that now belong to us.
            .map(|handle| *unsafe { Box::from_raw(handle.cast_mut().cast::<Tensor>()) })
            .collect();
        if status == abi::OK { Ok(outputs) } else { Err(Error::Callback(reply.json.to_text())) }
    }
}

unsafe extern "C" fn checkpoint(
    inputs: *const Handle,
    count: usize,
    body: *const Body,
    reply: *mut Message,
) -> i32 {
    // SAFETY: the plugin gives the body away; it does not use it afterwards.
    let body = OwnedBody(unsafe { std::ptr::read(body) });
    let result = guarded(|| {
        // SAFETY: live handles, `count` of them.
        let inputs: Vec<&Tensor> =
            unsafe { slice(inputs, count) }.iter().map(|h| unsafe { borrow(*h) }).collect();
        if mode::current().checkpoint_blocks {
            hssl_tensor::checkpoint(&inputs, move |inputs| body.run(inputs))
        } else {
            let inputs: Vec<Tensor> = inputs.into_iter().cloned().collect();
            body.run(&inputs)
        }
    });
    let (status, message) = match result {
        Ok(outputs) => {
            let handles = outputs.into_iter().map(into_handle).collect();
            (abi::OK, Message { json: Bytes::EMPTY, tensors: Handles::new(handles) })
        }
        Err(text) => (abi::FAILED, error_message(text)),
    };
    // SAFETY: `reply` points to an empty message.
    unsafe { reply.write(message) };
    status
}

unsafe extern "C" fn parallel(
    n: usize,
    state: *mut c_void,
    body: unsafe extern "C" fn(*mut c_void, usize),
) {
    use rayon::prelude::*;
    struct Shared(*mut c_void);
    // SAFETY: the SDK passes closures that are Sync.
    unsafe impl Sync for Shared {}
    let shared = Shared(state);
    let shared = &shared;
    // SAFETY: the state outlives this loop.
    (0..n).into_par_iter().for_each(|i| unsafe { body(shared.0, i) });
}
