//! What the host does for an objective while it is built or steps.

use std::collections::BTreeMap;

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    EncodeKeptRequest, EncodeRequest, Features, KeptRequest, Request, Role,
};
use hssl_plugin_api::params::ParameterRequest;
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api};
use hssl_tensor::{Array, Device, Tensor, mode};
use serde::Deserialize;

use crate::error::Result;
use crate::network::{Network, assign, unavailable};
use crate::parameters::Stores;
use crate::plugin::{Services, export, import, log_line};

/// The random choices of a step, by name.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// Those that were given from outside.
    given: BTreeMap<String, Array>,
    /// Those that were made, given or not.
    pub made: BTreeMap<String, Array>,
}

impl Drawn {
    /// Before the step.
    pub fn given(given: &BTreeMap<String, Array>) -> Self {
        Self { given: given.clone(), made: BTreeMap::new() }
    }

    fn serve(&mut self, request: &Envelope) -> Result<Envelope> {
        #[derive(Deserialize)]
        struct Choice {
            name: String,
        }
        let Choice { name } = request.read()?;
        if let Some(value) = request.find("value") {
            self.made.insert(name, import(&value).array());
            return Ok(Envelope::default());
        }
        let given = self.given.get(&name).map(|value| export(&Tensor::constant(value.clone())));
        Ok(Envelope::default().with_some("value", given.as_ref()))
    }
}

/// Services while an objective is built or steps.
pub(super) struct ObjectiveServices<'a> {
    pub student: &'a mut Network,
    pub teacher: &'a mut Network,
    pub stores: &'a mut Stores,
    pub device: &'a Device,
    pub seed: u64,
    /// Whether layers behave as in training.
    pub training: bool,
    pub drawn: &'a mut Drawn,
}

impl Services for ObjectiveServices<'_> {
    fn call(&mut self, service: u32, request: Envelope) -> api::Result<Envelope> {
        let served = match service {
            method::host::ENCODE => self.encode(&request),
            method::host::ENCODE_KEPT => self.encode_kept(&request),
            method::host::ENCODE_MAP => self.encode_map(&request),
            method::host::NORM => self.norm(&request),
            method::host::DRAWN => self.drawn.serve(&request),
            method::host::PARAMETER => self.parameter(&request),
            method::host::ASSIGN => return assign(&request),
            method::host::LOG => return log_line(&request),
            // One process: its own mean is the mean over all.
            method::host::ALL_REDUCE_MEAN => {
                return Ok(Envelope::default().with("tensor", &request.tensor("tensor")?));
            }
            other => return Err(unavailable(other, "in a training step")),
        };
        served.map_err(|error| api::Error::Host(error.to_string()))
    }
}

impl ObjectiveServices<'_> {
    /// Runs a network; what the teacher computes has no history.
    fn run<T>(&mut self, role: Role, body: impl FnOnce(&mut Network) -> Result<T>) -> Result<T> {
        match role {
            Role::Student => body(self.student),
            Role::Teacher => mode::no_grad(|| body(self.teacher)),
        }
    }

    fn encode(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeRequest = request.read()?;
        let images = import(&request.tensor("images")?);
        let mask = request.find("mask").map(|mask| import(&mask));
        let (training, attention) = (self.training, asked.attention);
        let how = Request { training, attention, ..Request::default() };
        let encode =
            |network: &mut Network| network.encode(&images, &asked.branches, &how, mask.as_ref());
        Ok(branches(&self.run(asked.role, encode)?))
    }

    fn encode_kept(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeKeptRequest = request.read()?;
        let (images, kept) = (import(&request.tensor("images")?), import(&request.tensor("kept")?));
        let how = KeptRequest { training: self.training, layers: asked.layers };
        let encode = |network: &mut Network| network.forward_kept(&images, &kept, &how);
        Ok(self.run(asked.role, encode)?.to_envelope())
    }

    fn encode_map(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeRequest = request.read()?;
        let (map, training) = (import(&request.tensor("map")?), self.training);
        let encode = |network: &mut Network| network.encode_map(&map, &asked.branches, training);
        Ok(branches(&self.run(asked.role, encode)?))
    }

    fn norm(&mut self, request: &Envelope) -> Result<Envelope> {
        #[derive(Deserialize)]
        struct Norm {
            role: Role,
        }
        let Norm { role } = request.read()?;
        let tokens = import(&request.tensor("tokens")?);
        let normed = self.run(role, |network| network.norm(&tokens))?;
        Ok(Envelope::default().with("tokens", &export(&normed)))
    }

    fn parameter(&mut self, request: &Envelope) -> Result<Envelope> {
        let request: ParameterRequest = request.read()?;
        let made = self.stores.create(&request, self.seed, self.device)?;
        Ok(Envelope::default().with("parameter", &export(&made)))
    }
}

fn branches(encoded: &BTreeMap<String, Features>) -> Envelope {
    let put =
        |reply, (name, features): (&String, &Features)| features.put(&format!("{name}/"), reply);
    encoded.iter().fold(Envelope::default(), put)
}
