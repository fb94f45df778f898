//! A network: a base model and its auxiliary heads, for one role.

use std::collections::BTreeMap;

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, BranchSpec, Edge, Features, HeadInput, HeadSpec, KeptRequest,
    Kind, Request, Role, Tokens,
};
use hssl_plugin_api::params::{Init, ParameterRequest};
use hssl_plugin_api::wire::Envelope;
use hssl_plugin_api::{self as api};
use hssl_tensor::{Device, Tensor, ops};

use crate::config::ComponentConfig;
use crate::error::{Error, Result};
use crate::parameters::Stores;
use crate::plugin::{Instance, Registry, Services, export, import, instantiate, log_line};
use crate::supervision::{self, BASE, HEADS};

/// Epsilon of the norm after a head (spec 1.2).
const HEAD_NORM_EPS: f64 = 1e-6;

/// An auxiliary head with the norm that the host adds.
struct HeadBranch {
    name: String,
    instance: Instance,
    spec: HeadSpec,
    /// Rows and columns of the map that it was built for.
    grid: [usize; 2],
    /// Made if the supervision graph names this head as a branch of its own.
    norm: Option<Norm>,
}

/// Weight and bias of a layer norm.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(builder: &mut Builder<'_>, scope: &str, width: usize) -> Result<Self> {
        let mut make = |name: &str, init| builder.parameter(format!("{scope}.{name}"), width, init);
        Ok(Self { weight: make("weight", Init::ONES)?, bias: make("bias", Init::ZEROS)? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(ops::layer_norm(x, Some(&self.weight), Some(&self.bias), HEAD_NORM_EPS)?)
    }
}

/// Base model and heads.
pub struct Network {
    role: Role,
    backbone: Instance,
    spec: BackboneSpec,
    heads: Vec<HeadBranch>,
    /// Norm of the joined heads, if there are several.
    joint_norm: Option<Norm>,
}

/// What a network is built with.
pub struct Builder<'a> {
    registry: &'a Registry,
    stores: &'a mut Stores,
    role: Role,
    seed: u64,
    device: &'a Device,
    /// Whether an edge trains the part that is being built. The student also has what only the
    /// teacher uses, so that the teacher's copy of it has something to follow.
    trained: bool,
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

    fn store(&self) -> &'static str {
        match self.role {
            Role::Student => "student",
            Role::Teacher => "teacher",
        }
    }

    fn parameter(&mut self, name: String, width: usize, init: Init) -> Result<Tensor> {
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
struct ForwardServices;

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

impl Network {
    /// Builds a base model and heads. Only branches that `edges` name get a norm, and of the
    /// student's heads and norms only those are trained that an edge reaches. `crop` is the side of
    /// global crops.
    pub fn build(
        builder: &mut Builder<'_>,
        backbone: &ComponentConfig,
        heads: &BTreeMap<String, ComponentConfig>,
        edges: &[Edge],
        mask_token: bool,
        crop: usize,
    ) -> Result<Self> {
        let store = builder.store();
        let request = Envelope::new(&serde_json::json!({
            "config": backbone.options,
            "store": store,
            "scope": "backbone",
            "backbone": BackboneSetup { mask_token },
        }))?;
        let (registry, role) = (builder.registry, builder.role);
        // Every edge trains the base, at the latest through a head.
        builder.trained = true;
        let mut instance =
            instantiate(registry, Kind::Backbone, &backbone.plugin, &request, builder)?;
        let spec: BackboneSpec = instance
            .call((method::component::SPEC, "spec"), &Envelope::default(), &mut ForwardServices)?
            .read()?;
        let mut network =
            Self { role, backbone: instance, spec, heads: Vec::new(), joint_norm: None };
        for (name, head) in heads {
            let branch = network.build_head(builder, (name, head), edges, crop)?;
            network.heads.push(branch);
        }
        if supervision::names(edges, HEADS) {
            builder.trained = supervision::trains(edges, HEADS);
            let width = network.heads.iter().map(|head| head.spec.width).sum();
            network.joint_norm = Some(Norm::new(builder, "heads.norm", width)?);
        }
        Ok(network)
    }

    fn build_head(
        &self,
        builder: &mut Builder<'_>,
        (name, head): (&str, &ComponentConfig),
        edges: &[Edge],
        crop: usize,
    ) -> Result<HeadBranch> {
        if [BASE, HEADS, "norm"].contains(&name) {
            return Err(Error::Composition(format!(
                "a head cannot be named {name:?}, which means something else; rename [heads.{name}]"
            )));
        }
        let stride = self.spec.stages.last().map_or(1, |stage| stage.stride);
        let side = crop.div_ceil(stride.max(1));
        let input = HeadInput { width: self.spec.width, grid: [side, side] };
        let scope = format!("heads.{name}");
        let request = Envelope::new(&serde_json::json!({
            "config": head.options,
            "store": builder.store(),
            "scope": scope,
            "input": input,
        }))?;
        let registry = builder.registry;
        builder.trained = supervision::trains_head(edges, name);
        let mut instance = instantiate(registry, Kind::Head, &head.plugin, &request, builder)?;
        let spec: HeadSpec = instance
            .call((method::component::SPEC, "spec"), &Envelope::default(), &mut ForwardServices)?
            .read()?;
        builder.trained = supervision::trains(edges, name);
        let norm = || Norm::new(builder, &format!("{scope}.norm"), spec.width);
        let norm = supervision::names(edges, name).then(norm).transpose()?;
        let grid = input.grid;
        Ok(HeadBranch { name: name.to_owned(), instance, spec, grid, norm })
    }

    /// The backbone's own account.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// Blocks of the deepest head.
    pub fn head_blocks(&self) -> usize {
        self.heads.iter().map(|head| head.spec.blocks).max().unwrap_or(0)
    }

    /// All branches with their widths.
    pub fn branches(&self) -> Vec<BranchSpec> {
        let branch = |name: &str, width| BranchSpec { name: name.into(), width };
        let mut branches = vec![branch(BASE, self.spec.width)];
        branches.extend(self.heads.iter().map(|head| branch(&head.name, head.spec.width)));
        if self.joint_norm.is_some() {
            let width = self.heads.iter().map(|head| head.spec.width).sum();
            branches.push(branch(HEADS, width));
        }
        branches
    }

    /// Sets stochastic depth.
    pub fn set_drop_path(&mut self, base: &[f64], head: &[f64]) -> Result<()> {
        let request = |rates: &[f64]| Envelope::new(&serde_json::json!({ "rates": rates }));
        let call = (method::component::DROP_PATH, "set_drop_path");
        self.backbone.call(call, &request(base)?, &mut ForwardServices)?;
        for branch in &mut self.heads {
            branch.instance.call(call, &request(head)?, &mut ForwardServices)?;
        }
        Ok(())
    }

    /// Asks the backbone to fit a loaded weight to its own shape for it.
    pub(crate) fn adapt(
        &mut self,
        name: &str,
        weight: &Tensor,
        shape: &[usize],
    ) -> Result<Option<Tensor>> {
        let request = Envelope::new(&serde_json::json!({ "name": name, "shape": shape }))?
            .with("weight", &export(weight));
        let call = (method::component::ADAPT_WEIGHT, "adapt_weight");
        let reply = self.backbone.call(call, &request, &mut ForwardServices)?;
        Ok(reply.find("weight").map(|weight| import(&weight)))
    }

    /// The base model's features of images (B, 3, H, W).
    pub fn forward_base(
        &mut self,
        images: &Tensor,
        request: &Request,
        mask: Option<&Tensor>,
    ) -> Result<Features> {
        let envelope = Envelope::new(request)?
            .with("images", &export(images))
            .with_some("mask", mask.map(export).as_ref());
        let call = (method::component::FORWARD, "forward");
        let reply = self.backbone.call(call, &envelope, &mut ForwardServices)?;
        Ok(Features::from_envelope(&reply, "")?)
    }

    /// The base's tokens of some patches of images (B, 3, H, W) alone; `kept` (B, K) names them.
    pub fn forward_kept(
        &mut self,
        images: &Tensor,
        kept: &Tensor,
        request: &KeptRequest,
    ) -> Result<Tokens> {
        let envelope =
            Envelope::new(request)?.with("images", &export(images)).with("kept", &export(kept));
        let call = (method::component::FORWARD_KEPT, "forward_kept");
        Ok(Tokens::from_envelope(&self.backbone.call(call, &envelope, &mut ForwardServices)?)?)
    }

    /// The base's final norm of tokens (B, N, C).
    pub fn norm(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let envelope = Envelope::default().with("tokens", &export(tokens));
        let call = (method::component::NORM, "norm");
        let reply = self.backbone.call(call, &envelope, &mut ForwardServices)?;
        Ok(import(&reply.tensor("tokens")?))
    }

    /// The named branches' features; the base runs once, and heads that are not named do not run.
    /// Without those of heads that cannot take a map of this grid ([`HeadSpec::fixed_grid`]).
    pub fn encode(
        &mut self,
        images: &Tensor,
        branches: &[String],
        request: &Request,
        mask: Option<&Tensor>,
    ) -> Result<BTreeMap<String, Features>> {
        let base = self.forward_base(images, request, mask)?;
        let input = import(base.pre_norm.as_ref().unwrap_or(&base.map));
        let heads: Vec<String> = branches.iter().filter(|name| *name != BASE).cloned().collect();
        let mut encoded = self.encode_map(&input, &heads, request.training)?;
        if heads.len() < branches.len() {
            encoded.insert(BASE.to_owned(), base);
        }
        Ok(encoded)
    }

    /// What the named heads make of a map (B, H, W, C) before the base's final norm. Without those that
    /// cannot take its grid.
    pub fn encode_map(
        &mut self,
        input: &Tensor,
        branches: &[String],
        training: bool,
    ) -> Result<BTreeMap<String, Features>> {
        let joint = branches.iter().any(|name| name == HEADS);
        let mut encoded = BTreeMap::new();
        let mut maps = Vec::new();
        let mut left_out = Vec::new();
        for head in &mut self.heads {
            let named = branches.contains(&head.name);
            if !named && !joint {
                continue;
            }
            if !head.takes(input) {
                left_out.extend([head.name.as_str(), HEADS]);
                continue;
            }
            let map = head.forward(input, training)?;
            if named {
                let norm = head.norm.as_ref().ok_or_else(|| not_a_branch(&head.name))?;
                encoded.insert(head.name.clone(), tail(&map, norm)?);
            }
            maps.push(map);
        }
        if joint && left_out.is_empty() {
            let norm = self.joint_norm.as_ref().ok_or_else(|| not_a_branch(HEADS))?;
            let joined = ops::cat(&maps.iter().collect::<Vec<_>>(), -1)?;
            encoded.insert(HEADS.to_owned(), tail(&joined, norm)?);
        }
        let missing =
            |name: &&String| !encoded.contains_key(*name) && !left_out.contains(&name.as_str());
        match branches.iter().find(missing) {
            None => Ok(encoded),
            Some(missing) => {
                Err(Error::Composition(format!("the {:?} has no head {missing:?}", self.role)))
            }
        }
    }
}

fn not_a_branch(name: &str) -> Error {
    Error::Composition(format!("no edge of the supervision graph names the branch {name:?}"))
}

impl HeadBranch {
    /// Whether it can take a map (B, H, W, C) of this grid.
    fn takes(&self, map: &Tensor) -> bool {
        !self.spec.fixed_grid || map.array().dims().get(1..3) == Some(&self.grid)
    }

    fn forward(&mut self, map: &Tensor, training: bool) -> Result<Tensor> {
        let request =
            Envelope::new(&serde_json::json!({ "training": training }))?.with("map", &export(map));
        let call = (method::component::FORWARD, "forward");
        let reply = self.instance.call(call, &request, &mut ForwardServices)?;
        Ok(import(&reply.tensor("map")?))
    }
}

/// What all heads end with: the mean over positions stands for the image, *then* both are normalised
/// (the norm of a mean is not the mean of norms).
fn tail(map: &Tensor, norm: &Norm) -> Result<Features> {
    let image = norm.forward(&ops::mean(map, &[1, 2], false)?)?;
    let mut features = Features::new(export(&image), export(&norm.forward(map)?));
    features.pre_norm = Some(export(map));
    Ok(features)
}
