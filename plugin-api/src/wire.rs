//! Messages with named tensors.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::abi::{Bytes, Handles, Host, Message};
use crate::{Error, Result, Tensor};

/// A JSON body and named tensors, in a defined order.
#[derive(Debug, Default)]
pub struct Envelope {
    /// The body.
    pub body: Value,
    tensors: Vec<(String, Tensor)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Wire {
    body: Value,
    tensors: Vec<String>,
}

impl Envelope {
    /// A body without tensors.
    pub fn new(body: &impl Serialize) -> Result<Self> {
        Ok(Self { body: serde_json::to_value(body)?, tensors: Vec::new() })
    }

    /// Adds a tensor.
    pub fn with(mut self, name: impl Into<String>, tensor: &Tensor) -> Self {
        self.push(name, tensor.clone());
        self
    }

    /// Adds a tensor if there is one.
    pub fn with_some(self, name: &str, tensor: Option<&Tensor>) -> Self {
        match tensor {
            Some(tensor) => self.with(name, tensor),
            None => self,
        }
    }

    /// Adds a tensor.
    pub fn push(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.push((name.into(), tensor));
    }

    /// The body as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(T::deserialize(&self.body)?)
    }

    /// A tensor by name.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone())
    }

    /// A tensor that has to be there.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.find(name).ok_or_else(|| Error::Host(format!("the message lacks the tensor {name:?}")))
    }

    /// All tensors.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }

    fn json(&self) -> Result<Bytes> {
        let tensors = self.tensors.iter().map(|(name, _)| name.clone()).collect();
        let wire = Wire { body: self.body.clone(), tensors };
        Ok(Bytes::new(serde_json::to_vec(&wire)?))
    }

    /// A request: its handles stay ours; the envelope must outlive the call.
    pub fn lend(&self) -> Result<Message> {
        let handles = self.tensors.iter().map(|(_, tensor)| tensor.handle()).collect();
        Ok(Message { json: self.json()?, tensors: Handles::new(handles) })
    }

    /// A reply: its handles go to the receiver.
    pub fn give(self) -> Result<Message> {
        let json = self.json()?;
        let handles = self.tensors.into_iter().map(|(_, tensor)| tensor.into_handle()).collect();
        Ok(Message { json, tensors: Handles::new(handles) })
    }

    /// Reads a request that somebody lends us.
    ///
    /// # Safety
    /// The message's handles are live handles of `host`.
    pub unsafe fn borrow(message: &Message, host: &'static Host) -> Result<Self> {
        Self::open(message, |handle| {
            // SAFETY: the handle is live by this function's contract; cloning adds our own count.
            unsafe { Tensor::from_handle((host.clone)(handle), host) }
        })
    }

    /// Reads a reply that is given to us.
    ///
    /// # Safety
    /// The message's handles are handles of `host` whose counts are ours.
    pub unsafe fn take(message: Message, host: &'static Host) -> Result<Self> {
        Self::open(&message, |handle| {
            // SAFETY: the count is ours by this function's contract.
            unsafe { Tensor::from_handle(handle, host) }
        })
    }

    fn open(message: &Message, own: impl Fn(crate::abi::Handle) -> Tensor) -> Result<Self> {
        let tensors: Vec<Tensor> = message.tensors.as_slice().iter().map(|h| own(*h)).collect();
        if message.json.as_slice().is_empty() {
            return Ok(Self::default());
        }
        let wire: Wire = serde_json::from_slice(message.json.as_slice())?;
        if wire.tensors.len() != tensors.len() {
            return Err(Error::Host("a message names more or fewer tensors than it holds".into()));
        }
        Ok(Self { body: wire.body, tensors: wire.tensors.into_iter().zip(tensors).collect() })
    }
}
