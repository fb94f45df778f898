//! What a component may ask of the host during a call.

use std::ffi::c_void;

use hssl_ops::{DType, Op};
use serde::{Deserialize, Serialize};

use crate::abi::{self, Body, Bytes, Handle, Handles, Host, Message, method};
use crate::tensor::{Element, IntoShape};
use crate::wire::Envelope;
use crate::{Error, Result, Tensor};

/// The host, for the duration of one call.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    host: &'static Host,
    raw: *const c_void,
    call: std::marker::PhantomData<&'a ()>,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something to act on.
    Warn,
    /// Something to know.
    Info,
    /// Something for the plugin's author.
    Debug,
}

impl Context<'_> {
    /// Wraps the pointers of a call.
    ///
    /// # Safety
    /// `raw` is the context pointer that the host passed for a call that is still running.
    pub unsafe fn new(host: &'static Host, raw: *const c_void) -> Self {
        Self { host, raw, call: std::marker::PhantomData }
    }

    /// The host's table.
    pub fn host(&self) -> &'static Host {
        self.host
    }

    /// Calls a service.
    ///
    /// # Errors
    /// The host's message.
    pub fn call(&self, service: u32, request: &Envelope) -> Result<Envelope> {
        let lent = request.lend()?;
        let mut reply = Message::EMPTY;
        // SAFETY: `raw` is valid during the call that this context belongs to.
        let status = unsafe { (self.host.call)(self.raw, service, &lent, &mut reply) };
        if status != abi::OK {
            return Err(Error::Host(reply.json.to_text()));
        }
        // SAFETY: a reply's handles are ours.
        unsafe { Envelope::take(reply, self.host) }
    }

    /// Writes a line into the host's log.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let body = serde_json::json!({ "level": level, "message": message.into() });
        // A log line that cannot be written must not stop a run.
        let _ = Envelope::new(&body).and_then(|request| self.call(method::host::LOG, &request));
    }

    /// Reports progress of something long; true means that the user wants it stopped.
    pub fn progress(&self, done: usize, total: usize, text: &str) -> Result<bool> {
        let body = serde_json::json!({ "done": done, "total": total, "text": text });
        let reply = self.call(method::host::PROGRESS, &Envelope::new(&body)?)?;
        Ok(reply.body["cancelled"].as_bool().unwrap_or(false))
    }

    /// A tensor of one value.
    pub fn full(&self, shape: impl IntoShape, value: f64, dtype: DType) -> Result<Tensor> {
        self.create(&Op::Full { shape: sizes(shape), value, dtype })
    }

    /// Zeros, f32.
    pub fn zeros(&self, shape: impl IntoShape) -> Result<Tensor> {
        self.full(shape, 0.0, DType::F32)
    }

    /// start, start + step, ...
    pub fn arange(&self, start: f64, step: f64, len: usize, dtype: DType) -> Result<Tensor> {
        self.create(&Op::Arange { start, step, len, dtype })
    }

    /// Uniform random numbers on [low, high).
    pub fn uniform(&self, shape: impl IntoShape, low: f64, high: f64) -> Result<Tensor> {
        self.create(&Op::Uniform { shape: sizes(shape), low, high })
    }

    /// Normal random numbers.
    pub fn normal(&self, shape: impl IntoShape, mean: f64, std: f64) -> Result<Tensor> {
        self.create(&Op::Normal { shape: sizes(shape), mean, std })
    }

    /// A tensor from elements in row-major order.
    pub fn tensor<T: Element>(&self, data: &[T], shape: impl IntoShape) -> Result<Tensor> {
        Tensor::from_slice(self.host, data, shape)
    }

    fn create(&self, op: &Op) -> Result<Tensor> {
        let created = Tensor::dispatch(self.host, op, &[])?.into_iter().next();
        created.ok_or_else(|| Error::Host(format!("{} returned no tensor", op.name())))
    }

    /// Replaces the value of a buffer.
    pub fn assign(&self, buffer: &Tensor, value: &Tensor) -> Result<()> {
        let request = Envelope::default().with("buffer", buffer).with("value", value);
        self.call(method::host::ASSIGN, &request).map(drop)
    }

    /// Mean of a tensor over all processes of the run.
    pub fn all_reduce_mean(&self, tensor: &Tensor) -> Result<Tensor> {
        let request = Envelope::default().with("tensor", tensor);
        self.call(method::host::ALL_REDUCE_MEAN, &request)?.tensor("tensor")
    }

    /// Starts the host's generator anew: what is drawn next depends on the run's seed and `stream` alone.
    pub fn random_stream(&self, stream: u64) -> Result<()> {
        let body = serde_json::json!({ "stream": stream });
        self.call(method::host::RANDOM_STREAM, &Envelope::new(&body)?).map(drop)
    }

    /// Runs `body` on the host's threads for each of 0..n.
    pub fn parallel(&self, n: usize, body: impl Fn(usize) + Sync) {
        unsafe extern "C" fn run<F: Fn(usize)>(state: *mut c_void, index: usize) {
            // SAFETY: `state` is the closure borrowed below, which outlives the loop.
            let body = unsafe { &*state.cast::<F>() };
            // A panic must not cross into the host; the iteration is lost, the others are not.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(index)));
        }
        fn runner<F: Fn(usize)>(_: &F) -> unsafe extern "C" fn(*mut c_void, usize) {
            run::<F>
        }
        let state = std::ptr::from_ref(&body).cast_mut().cast();
        // SAFETY: `body` is Sync and lives until the host's loop has ended.
        unsafe { (self.host.parallel)(n, state, runner(&body)) }
    }

    /// Runs a block of a network with one input and one output; see [`Context::checkpoint`].
    pub fn block(
        &self,
        x: &Tensor,
        body: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static,
    ) -> Result<Tensor> {
        let mut outputs = self.checkpoint(&[x], move |inputs| Ok(vec![body(&inputs[0])?]))?;
        Ok(outputs.remove(0))
    }

    /// Runs a block of a network. With `train.checkpoint_blocks` the host does not keep the block's
    /// intermediates but runs `body` again for the gradient, so `body` must give the same result
    /// twice; random numbers of the host's operations repeat by themselves.
    pub fn checkpoint(
        &self,
        inputs: &[&Tensor],
        body: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + 'static,
    ) -> Result<Vec<Tensor>> {
        struct State<F> {
            body: F,
            host: &'static Host,
        }
        unsafe extern "C" fn run<F: Fn(&[Tensor]) -> Result<Vec<Tensor>>>(
            state: *mut c_void,
            inputs: *const Handle,
            count: usize,
            reply: *mut Message,
        ) -> i32 {
            // SAFETY: `state` is the box made below and lives until `free`.
            let state = unsafe { &*state.cast::<State<F>>() };
            // SAFETY: the host passes `count` live handles.
            let handles = unsafe { std::slice::from_raw_parts(inputs, count) };
            let inputs: Vec<Tensor> = handles
                .iter()
                // SAFETY: live handles; cloning adds our own count.
                .map(|h| unsafe { Tensor::from_handle((state.host.clone)(*h), state.host) })
                .collect();
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (state.body)(&inputs)));
            let (status, message) = match result {
                Ok(Ok(outputs)) => {
                    let handles = outputs.into_iter().map(Tensor::into_handle).collect();
                    (abi::OK, Message { json: Bytes::EMPTY, tensors: Handles::new(handles) })
                }
                Ok(Err(error)) => (abi::FAILED, text(error.to_string())),
                Err(panic) => {
                    let words = crate::export::panic_text(&*panic);
                    (abi::PANICKED, text(format!("a block panicked: {words}")))
                }
            };
            // SAFETY: `reply` is the host's out-pointer, holding an empty message.
            unsafe { *reply = message };
            status
        }
        unsafe extern "C" fn free<F>(state: *mut c_void) {
            // SAFETY: the box made below, freed once.
            drop(unsafe { Box::from_raw(state.cast::<State<F>>()) });
        }
        fn functions<F: Fn(&[Tensor]) -> Result<Vec<Tensor>>>(state: Box<State<F>>) -> Body {
            Body { state: Box::into_raw(state).cast(), run: run::<F>, free: free::<F> }
        }
        let body = functions(Box::new(State { body, host: self.host }));
        let handles: Vec<Handle> = inputs.iter().map(|tensor| tensor.handle()).collect();
        let mut reply = Message::EMPTY;
        // SAFETY: the handles are live; the host takes the body over in any case.
        let status =
            unsafe { (self.host.checkpoint)(handles.as_ptr(), handles.len(), &body, &mut reply) };
        if status != abi::OK {
            return Err(Error::Host(reply.json.to_text()));
        }
        let outputs = reply.tensors.as_slice().iter();
        // SAFETY: a reply's handles are ours.
        Ok(outputs.map(|handle| unsafe { Tensor::from_handle(*handle, self.host) }).collect())
    }
}

/// A message that is an error text.
pub(crate) fn text(text: String) -> Message {
    Message { json: text.into(), tensors: Handles::EMPTY }
}

fn sizes(shape: impl IntoShape) -> Vec<usize> {
    shape.into_shape().into_iter().map(|size| size.max(0) as usize).collect()
}
