//! The host of a component under trial: parameters, and a small network of its own for objectives.

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    BackboneSpec, EncodeKeptRequest, EncodeRequest, Features, Role, StageSpec, Tokens,
};
use hssl_plugin_api::params::{Init, ParameterRequest};
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api};
use hssl_tensor::{Array, DType, Device, Gradients, Tensor, mode, ops, random};

use crate::error::Result;
use crate::network::{assign, unavailable};
use crate::parameters::{Store, Stores};
use crate::plugin::{Services, export, import, log_line};
use crate::supervision::BASE;

/// Channels of the maps that heads and objectives are tried with.
pub(super) const WIDTH: usize = 16;
/// Pixels per cell of [`Bench`]'s own network.
pub(super) const STRIDE: usize = 8;

/// Blocks that its base claims to have.
const BLOCKS: usize = 12;
const SEED: u64 = 0;
const EPS: f64 = 1e-6;

/// Serves a component while it is made and called.
#[derive(Default)]
pub(super) struct Bench {
    pub stores: Stores,
}

impl Services for Bench {
    fn call(&mut self, service: u32, request: Envelope) -> api::Result<Envelope> {
        self.serve(service, &request).map_err(|error| api::Error::Host(error.to_string()))
    }
}

impl Bench {
    fn serve(&mut self, service: u32, request: &Envelope) -> Result<Envelope> {
        match service {
            method::host::PARAMETER => {
                let made = self.stores.create(&request.read()?, SEED, &Device::Cpu)?;
                Ok(Envelope::default().with("parameter", &export(&made)))
            }
            method::host::ENCODE => self.encode(request),
            method::host::ENCODE_KEPT => self.encode_kept(request),
            method::host::ENCODE_MAP => self.encode_map(request),
            method::host::NORM => {
                let normed = ops::layer_norm(&import(&request.tensor("tokens")?), None, None, EPS)?;
                Ok(Envelope::default().with("tokens", &export(&normed)))
            }
            // Nothing is given from outside.
            method::host::DRAWN => Ok(Envelope::default()),
            method::host::ASSIGN => Ok(assign(request)?),
            method::host::ALL_REDUCE_MEAN => {
                Ok(Envelope::default().with("tensor", &request.tensor("tensor")?))
            }
            method::host::LOG => Ok(log_line(request)?),
            other => Err(unavailable(other, "while a component is checked").into()),
        }
    }

    /// Each branch is the mean colour of each cell, mapped to [`WIDTH`] channels and normalised.
    fn encode(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeRequest = request.read()?;
        let images = import(&request.tensor("images")?);
        let mask = request.find("mask").map(|mask| import(&mask));
        let mut reply = Envelope::default();
        for branch in &asked.branches {
            let features = match asked.role {
                Role::Student => self.features(&asked, branch, &images, mask.as_ref())?,
                Role::Teacher => {
                    mode::no_grad(|| self.features(&asked, branch, &images, mask.as_ref()))?
                }
            };
            reply = features.put(&format!("{branch}/"), reply);
        }
        Ok(reply)
    }

    /// The cells that are kept, behind a class token that is their mean; every block passes them on as they
    /// are.
    fn encode_kept(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeKeptRequest = request.read()?;
        let (images, kept) = (import(&request.tensor("images")?), import(&request.tensor("kept")?));
        let tokens = |bench: &mut Self| -> Result<Tensor> {
            let map = bench.map(asked.role, BASE, &images, None)?;
            let cells = ops::reshape(&map, &[map.dims()[0] as i64, -1, WIDTH as i64])?;
            let index = [kept.dims().as_slice(), &[1]].concat();
            let index: Vec<i64> = index.into_iter().map(|size| size as i64).collect();
            let index = ops::reshape(&kept, &index)?;
            let index = ops::broadcast_to(&index, &[kept.dims(), vec![WIDTH]].concat())?;
            let cells = ops::gather(&cells, &index, 1)?;
            Ok(ops::cat(&[&ops::mean(&cells, &[1], true)?, &cells], 1)?)
        };
        let pre_norm = match asked.role {
            Role::Student => tokens(self)?,
            Role::Teacher => mode::no_grad(|| tokens(self))?,
        };
        let normed = ops::layer_norm(&pre_norm, None, None, EPS)?;
        let layers = vec![export(&pre_norm); asked.layers.len()];
        Ok(Tokens { normed: export(&normed), pre_norm: export(&pre_norm), layers }.to_envelope())
    }

    /// Each head maps the channels once more.
    fn encode_map(&mut self, request: &Envelope) -> Result<Envelope> {
        let asked: EncodeRequest = request.read()?;
        let map = import(&request.tensor("map")?);
        let mut reply = Envelope::default();
        for branch in &asked.branches {
            let weight = self.parameter(asked.role, branch, "mixing", vec![WIDTH, WIDTH])?;
            let mixed = ops::linear(&map, &weight, None)?;
            reply = normed(&mixed)?.put(&format!("{branch}/"), reply);
        }
        Ok(reply)
    }

    fn features(
        &mut self,
        asked: &EncodeRequest,
        branch: &str,
        images: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Features> {
        let map = self.map(asked.role, branch, images, mask)?;
        let mut features = normed(&map)?;
        if asked.attention {
            let dims = map.dims();
            let tokens = dims[1] * dims[2] + 1;
            let shape = [dims[0], 1, tokens, tokens];
            let even = ops::full(&shape, 1.0 / tokens as f64, DType::F32, &Device::Cpu)?;
            features.attention = Some(export(&even));
        }
        Ok(features)
    }

    fn parameter(
        &mut self,
        role: Role,
        branch: &str,
        name: &str,
        shape: Vec<usize>,
    ) -> Result<Tensor> {
        let store = if role == Role::Student { "student" } else { "teacher" };
        let request = ParameterRequest {
            store: store.into(),
            name: format!("network.{branch}.{name}"),
            shape,
            init: Init::Normal { mean: 0.0, std: 1.0 },
            trainable: true,
        };
        self.stores.create(&request, SEED, &Device::Cpu)
    }

    /// Images to a map (B, h, w, C).
    fn map(
        &mut self,
        role: Role,
        branch: &str,
        images: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let weight = self.parameter(role, branch, "weight", vec![WIDTH, 3])?;
        let token = |bench: &mut Self| bench.parameter(role, branch, "token", vec![WIDTH]);
        let token = mask.map(|_| token(self)).transpose()?;
        let dims = images.dims();
        let (batch, stride) = (dims[0] as i64, STRIDE as i64);
        let (rows, columns) = (dims[2] as i64 / stride, dims[3] as i64 / stride);
        // (B, 3, H, W) -> (B, h, s, w, s, 3) -> (B, h, w, 3) -> (B, h, w, C)
        let cells = ops::permute(images, &[0, 2, 3, 1])?;
        let cells = ops::reshape(&cells, &[batch, rows, stride, columns, stride, 3])?;
        let map = ops::linear(&ops::mean(&cells, &[2, 4], false)?, &weight, None)?;
        let (Some(mask), Some(token)) = (mask, &token) else { return Ok(map) };
        let mask = ops::reshape(mask, &[batch, rows, columns, 1])?;
        let masked = ops::cast(&mask, DType::F32)?;
        let seen = ops::affine(&masked, -1.0, 1.0)?;
        Ok(ops::add(&ops::mul(&map, &seen)?, &ops::mul(&masked, token)?)?)
    }
}

/// What the bench says of its network's base.
pub(super) fn base_spec() -> BackboneSpec {
    BackboneSpec {
        width: WIDTH,
        blocks: BLOCKS,
        stages: vec![StageSpec { stride: STRIDE, width: WIDTH }],
        image_size: 4 * STRIDE,
    }
}

/// A map's features, its mean standing for the image.
fn normed(map: &Tensor) -> Result<Features> {
    let normed = ops::layer_norm(map, None, None, EPS)?;
    let image = ops::mean(&normed, &[1, 2], false)?;
    let mut features = Features::new(export(&image), export(&normed));
    features.pre_norm = Some(export(map));
    Ok(features)
}

/// Standard normal values.
pub(super) fn noise(shape: &[usize]) -> Result<Tensor> {
    let values = random::normal(shape.iter().product());
    let array = Array::from_vec(values, shape, &Device::Cpu).map_err(hssl_tensor::Error::from)?;
    Ok(Tensor::constant(array))
}

/// The elements in row-major order, as f64.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    array_values(&tensor.array())
}

fn array_values(array: &Array) -> Result<Vec<f64>> {
    let flat = array.to_dtype(DType::F64).and_then(|array| array.flatten_all());
    Ok(flat.and_then(|array| array.to_vec1()).map_err(hssl_tensor::Error::from)?)
}

/// Whether a tensor has the expected sizes and finite elements.
pub(super) fn expect(what: &str, tensor: &Tensor, dims: &[usize]) -> Result<(), String> {
    if tensor.dims() != dims {
        return Err(format!("{what} has the shape {:?}; expected {dims:?}", tensor.dims()));
    }
    let values = values(tensor).map_err(|error| error.to_string())?;
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("{what} holds {value}")),
        None => Ok(()),
    }
}

/// Every trainable parameter of a store must have a finite gradient.
pub(super) fn expect_gradients(store: &Store, gradients: &Gradients) -> Result<(), String> {
    let mut faults = Vec::new();
    for parameter in store.iter().filter(|parameter| parameter.is_trainable()) {
        let name = parameter.name();
        match gradients.get(parameter).map(array_values).transpose() {
            Err(error) => faults.push(format!("{name}: {error}")),
            Ok(None) => faults.push(format!("{name} has none")),
            Ok(Some(values)) if values.iter().any(|value| !value.is_finite()) => {
                faults.push(format!("{name}'s is not finite"));
            }
            Ok(Some(_)) => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join(", ")) }
}
