//! What networks are built with, and what they may ask of the host.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::Role;
use hssl_plugin_api::params::{Init, ParameterRequest};
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api};
use hssl_tensor::{Device, Tensor};

use crate::error::Result;
use crate::parameters::Stores;
use crate::plugin::{Registry, Services, export, import, log_line};

/// What a network is built with.
pub struct Builder<'a> {
    pub(super) registry: &'a Registry,
    stores: &'a mut Stores,
    pub(super) role: Role,
    seed: u64,
    device: &'a Device,
    /// Whether an edge trains the part that is being built. The student also has what only the
    /// teacher uses, so that the teacher's copy of it has something to follow.
    pub(super) trained: bool,
}

impl<'a> Builder<'a> {
    /// Puts the parameters of `role` into `stores`, on `device`; `seed` draws their first values.
    pub fn new(
        registry: &'a Registry,
        stores: &'a mut Stores,
        role: Role,
        seed: u64,
        device: &'a Device,
    ) -> Self {
        Self { registry, stores, role, seed, device, trained: true }
    }

    pub(super) fn store(&self) -> &'static str {
        match self.role {
            Role::Student => "student",
            Role::Teacher => "teacher",
        }
    }

    pub(super) fn device(&self) -> &'a Device {
        self.device
    }

    pub(super) fn parameter(&mut self, name: String, width: usize, init: Init) -> Result<Tensor> {
        self.create(ParameterRequest {
            store: self.store().into(),
            name,
            shape: vec![width],
            init,
            trainable: true,
        })
    }

    fn create(&mut self, mut request: ParameterRequest) -> Result<Tensor> {
        request.trainable &= self.trained;
        self.stores.create(&request, self.seed, self.device)
    }
}

impl Services for Builder<'_> {
    fn call(&mut self, service: u32, request: Envelope) -> api::Result<Envelope> {
        match service {
            method::host::PARAMETER => {
                let made = self.create(request.read()?);
                let tensor = made.map_err(|error| api::Error::Host(error.to_string()))?;
                Ok(Envelope::default().with("parameter", &export(&tensor)))
            }
            method::host::LOG => log_line(&request),
            other => Err(unavailable(other, "while a network is built")),
        }
    }
}

/// The error for a service that a call's context does not have.
pub(crate) fn unavailable(service: u32, when: &str) -> api::Error {
    api::Error::Host(format!("service {service} is not available {when}"))
}

/// What a network answers during a forward pass: buffers may be replaced, lines may be logged.
pub(super) struct ForwardServices;

impl Services for ForwardServices {
    fn call(&mut self, service: u32, request: Envelope) -> api::Result<Envelope> {
        match service {
            method::host::ASSIGN => assign(&request),
            method::host::LOG => log_line(&request),
            other => Err(unavailable(other, "in a forward pass")),
        }
    }
}

/// Serves [`method::host::ASSIGN`].
pub(crate) fn assign(request: &Envelope) -> api::Result<Envelope> {
    let buffer = import(&request.tensor("buffer")?);
    let value = import(&request.tensor("value")?);
    let parameter = buffer
        .as_parameter()
        .ok_or_else(|| api::Error::Host("only buffers and parameters can be assigned to".into()))?;
    parameter.set(&value.array()).map_err(|error| api::Error::Host(error.to_string()))?;
    Ok(Envelope::default())
}
