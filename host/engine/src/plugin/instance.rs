//! A component at work.

use std::ffi::c_void;

use hssl_plugin_api::abi::root::PluginRef;
use hssl_plugin_api::abi::{self, Message};
use hssl_plugin_api::wire::Envelope;

use super::host_table::{CallContext, HOST, Services};

/// A call of a component that failed. The message names plugin, component and function.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The component refused or the host could not compute what it asked for.
    #[error("{component}: {function}: {message}")]
    Failed {
        /// Kind and name.
        component: String,
        /// What it was asked to do.
        function: &'static str,
        /// Its words.
        message: String,
    },
    /// The component's code panicked; the instance is not used again.
    #[error(
        "{component}: panicked in {function}: {message}; this is a bug in the plugin {plugin}, which is \
         not used any further"
    )]
    Panicked {
        /// Kind and name.
        component: String,
        /// The plugin and its file.
        plugin: String,
        /// What it was asked to do.
        function: &'static str,
        /// The panic's text.
        message: String,
    },
}

/// An instance of a component, called by one thread at a time.
pub struct Instance {
    module: PluginRef,
    pointer: *mut c_void,
    component: String,
    plugin: String,
}

// SAFETY: instances may move between threads by the interface's rules (the SDK requires `Send`).
unsafe impl Send for Instance {}

impl Instance {
    /// Makes an instance of the component with `index`. `component` and `plugin` name it in errors.
    pub fn create(
        module: PluginRef,
        index: usize,
        (component, plugin): (String, String),
        request: &Envelope,
        services: &mut dyn Services,
    ) -> Result<Self, CallError> {
        let mut instance = Self { module, pointer: std::ptr::null_mut(), component, plugin };
        let lent = instance.lend("new", request)?;
        let context = CallContext::new(services);
        let mut reply = Message::EMPTY;
        // SAFETY: the pointers are valid during the call; the table is the root module's.
        let status = unsafe {
            (module.create())(
                std::ptr::from_ref(&HOST).cast(),
                context.as_raw(),
                index,
                std::ptr::from_ref(&lent).cast(),
                &mut instance.pointer,
                std::ptr::from_mut(&mut reply).cast(),
            )
        };
        instance.outcome("new", status, reply)?;
        Ok(instance)
    }

    /// Calls a method.
    pub fn call(
        &mut self,
        (method, function): (u32, &'static str),
        request: &Envelope,
        services: &mut dyn Services,
    ) -> Result<Envelope, CallError> {
        let lent = self.lend(function, request)?;
        let context = CallContext::new(services);
        let mut reply = Message::EMPTY;
        // SAFETY: a live instance; the pointers are valid during the call.
        let status = unsafe {
            (self.module.call())(
                self.pointer,
                context.as_raw(),
                method,
                std::ptr::from_ref(&lent).cast(),
                std::ptr::from_mut(&mut reply).cast(),
            )
        };
        self.outcome(function, status, reply)
    }

    /// Kind and name, for messages.
    pub fn component(&self) -> &str {
        &self.component
    }

    fn lend(&self, function: &'static str, request: &Envelope) -> Result<Message, CallError> {
        request.lend().map_err(|error| self.failed(function, error.to_string()))
    }

    fn failed(&self, function: &'static str, message: String) -> CallError {
        CallError::Failed { component: self.component.clone(), function, message }
    }

    fn outcome(
        &self,
        function: &'static str,
        status: i32,
        reply: Message,
    ) -> Result<Envelope, CallError> {
        match status {
            // SAFETY: a reply's handles are ours, and all of them are the host's own.
            abi::OK => unsafe { Envelope::take(reply, &HOST) }
                .map_err(|error| self.failed(function, error.to_string())),
            abi::PANICKED => Err(CallError::Panicked {
                component: self.component.clone(),
                plugin: self.plugin.clone(),
                function,
                message: reply.json.to_text(),
            }),
            _ => Err(self.failed(function, reply.json.to_text())),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: made by `create` and dropped once.
            unsafe { (self.module.drop())(self.pointer) }
        }
    }
}
