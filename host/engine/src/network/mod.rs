//! A network: a base model and its auxiliary heads, for one role.

mod builder;
mod encoded;
mod head;
mod layers;
mod norm;

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    BackboneSetup, BackboneSpec, BranchSpec, Edge, Features, HeadInput, KeptRequest, Kind, Request,
    Role, Tokens,
};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::{Tensor, ops};

use crate::config::{ComponentConfig, HeadConfig};
use crate::error::{Error, Result};
use crate::plugin::{Instance, export, import, instantiate};
use crate::supervision::{self, BASE, HEADS};
use builder::ForwardServices;
use encoded::Encoded;
use head::{Head, not_a_branch};
use layers::Layer;
use norm::Norm;

pub use builder::Builder;
pub(crate) use builder::{assign, unavailable};

/// Names of heads that the parameters of all of them use.
const RESERVED: [&str; 3] = [BASE, HEADS, "norm"];
/// Scope of the base's parameters.
const BACKBONE: &str = "backbone.";

/// Base model and heads.
pub struct Network {
    role: Role,
    backbone: Instance,
    spec: BackboneSpec,
    heads: Vec<Head>,
    /// Norm of the joined heads, if there are several.
    joint_norm: Option<Norm>,
    /// Intermediate layers of the base that are branches.
    layers: Vec<Layer>,
    /// Parameter scopes of the parts that have run in training mode.
    ran: BTreeSet<String>,
}

impl Network {
    /// Builds a base model and heads. Only branches that `edges` name get a norm, and of the
    /// student's heads and norms only those are trained that an edge reaches. `crop` is the side of
    /// global crops.
    pub fn build(
        builder: &mut Builder<'_>,
        backbone: &ComponentConfig,
        heads: &BTreeMap<String, HeadConfig>,
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
        // The graph has been checked to train the base.
        builder.trained = true;
        let mut instance =
            instantiate(registry, Kind::Backbone, &backbone.plugin, &request, builder)?;
        let spec = head::spec(&mut instance)?;
        let mut network = Self {
            role,
            backbone: instance,
            spec,
            heads: Vec::new(),
            joint_norm: None,
            layers: Vec::new(),
            ran: BTreeSet::new(),
        };
        for (name, head) in heads {
            if RESERVED.contains(&name.as_str()) {
                return Err(Error::Composition(format!(
                    "a head cannot be named {name:?}, which means something else; rename \
                     [heads.{name}]"
                )));
            }
            let input = network.head_input(crop);
            network.heads.push(Head::build(builder, (name, head), edges, input, crop)?);
        }
        if supervision::names(edges, HEADS) {
            builder.trained = supervision::trains(edges, HEADS);
            network.joint_norm = Some(Norm::new(builder, "heads.norm", network.joint_width())?);
        }
        network.layers = Layer::all(builder, &mut network, edges, crop)?;
        Ok(network)
    }

    /// What a head on the base's map is attached to.
    fn head_input(&self, crop: usize) -> HeadInput {
        let side = crop.div_ceil(self.stride());
        HeadInput { width: self.spec.width, grid: [side, side] }
    }

    /// Pixels per cell of the last map.
    fn stride(&self) -> usize {
        head::stride(&self.spec)
    }

    fn joint_width(&self) -> usize {
        self.heads.iter().map(|head| head.width).sum()
    }

    /// The backbone's own account.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    /// All branches with their widths.
    pub fn branches(&self) -> Vec<BranchSpec> {
        let branch = |name: &str, width, patches| {
            let beside = false;
            BranchSpec { name: name.into(), width, patches, beside }
        };
        let mut branches = vec![branch(BASE, self.spec.width, true)];
        branches.extend(self.layers.iter().map(|layer| branch(&layer.branch, layer.width, false)));
        let same_grid = |head: &Head| head.stride.is_none_or(|stride| stride == self.stride());
        let heads = self.heads.iter();
        branches.extend(heads.map(|head| BranchSpec {
            beside: !head.is_serial(),
            ..branch(&head.name, head.width, same_grid(head))
        }));
        if self.joint_norm.is_some() {
            branches.push(branch(HEADS, self.joint_width(), true));
        }
        branches
    }

    /// Sets stochastic depth, up to `rate` at the end of each path: one ramp over the base and the heads
    /// on its map, or apart from them if it does not count heads; a network beside the base has its own.
    pub fn set_drop_path(&mut self, rate: f64, counts_heads: bool) -> Result<()> {
        let serial = self.heads.iter().filter(|head| head.is_serial());
        let deepest = serial.map(|head| head.blocks).max().unwrap_or(0);
        let (base, on_map) =
            supervision::drop_path_rates(rate, self.spec.blocks, deepest, counts_heads);
        let request = Envelope::new(&serde_json::json!({ "rates": base }))?;
        let call = (method::component::DROP_PATH, "set_drop_path");
        self.backbone.call(call, &request, &mut ForwardServices)?;
        for head in &mut self.heads {
            if head.is_serial() {
                head.set_drop_path(&on_map)?;
            } else {
                head.set_drop_path(&supervision::drop_path_rates(rate, head.blocks, 0, false).0)?;
            }
        }
        Ok(())
    }

    /// Whether the part that a parameter belongs to has run in training mode; for one that is none of the
    /// network's, whether any part has.
    pub(crate) fn has_run(&self, parameter: &str) -> bool {
        let heads = self.heads.iter().map(|head| head.scope());
        let mut scopes = std::iter::once(BACKBONE.to_owned()).chain(heads);
        match scopes.find(|scope| parameter.starts_with(scope.as_str())) {
            Some(scope) => self.ran.contains(&scope),
            None => !self.ran.is_empty(),
        }
    }

    /// Forgets what has run.
    pub(crate) fn forget_runs(&mut self) {
        self.ran.clear();
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
        if request.training {
            self.ran.insert(BACKBONE.to_owned());
        }
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
        if request.training {
            self.ran.insert(BACKBONE.to_owned());
        }
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

    /// The named branches' features; the base runs once, and not at all if nothing that is named needs it,
    /// and heads that are not named do not run. Without those of heads that do not take images of this
    /// size.
    pub fn encode(
        &mut self,
        images: &Tensor,
        branches: &[String],
        request: &Request,
        mask: Option<&Tensor>,
    ) -> Result<BTreeMap<String, Features>> {
        let mut found = Encoded::default();
        let base = self.base_for(images, branches, request, mask)?;
        if let Some(mut base) = base {
            let input = import(base.pre_norm.as_ref().unwrap_or(&base.map));
            self.heads_on(&input, branches, request.training, &mut found)?;
            let outputs: Vec<Tensor> = base.layers.drain(..).map(|layer| import(&layer)).collect();
            for layer in self.layers.iter().filter(|layer| branches.contains(&layer.branch)) {
                found.put(&layer.branch, layer.features(&outputs, self.spec.blocks)?);
            }
            if branches.iter().any(|name| name == BASE) {
                found.put(BASE, base);
            }
        }
        let beside = |head: &&mut Head| !head.is_serial() && branches.contains(&head.name);
        for head in self.heads.iter_mut().filter(beside) {
            let Some(features) = head.forward_image(images, request.training)? else {
                found.leave_out(&head.name);
                continue;
            };
            if request.training {
                self.ran.insert(head.scope());
            }
            found.put(&head.name, features);
        }
        found.complete(branches, self.role)
    }

    /// What the named heads make of a map (B, H, W, C) before the base's final norm. Without those that
    /// cannot take its grid.
    pub fn encode_map(
        &mut self,
        map: &Tensor,
        branches: &[String],
        training: bool,
    ) -> Result<BTreeMap<String, Features>> {
        let mut found = Encoded::default();
        self.heads_on(map, branches, training, &mut found)?;
        found.complete(branches, self.role)
    }

    /// Runs the heads on the base's map that are named, or joined where that is.
    fn heads_on(
        &mut self,
        input: &Tensor,
        branches: &[String],
        training: bool,
        found: &mut Encoded,
    ) -> Result<()> {
        let joint = branches.iter().any(|name| name == HEADS);
        let mut maps = Vec::new();
        for head in self.heads.iter_mut().filter(|head| head.is_serial()) {
            let named = branches.contains(&head.name);
            if !named && !joint {
                continue;
            }
            let Some(map) = head.forward_map(input, training)? else {
                found.leave_out(&head.name);
                found.leave_out(HEADS);
                continue;
            };
            if training {
                self.ran.insert(head.scope());
            }
            if named {
                found.put(&head.name, head.tail(&map)?);
            }
            maps.push(map);
        }
        if joint && !found.is_left_out(HEADS) {
            let norm = self.joint_norm.as_ref().ok_or_else(|| not_a_branch(HEADS))?;
            let joined = ops::cat(&maps.iter().collect::<Vec<_>>(), -1)?;
            found.put(HEADS, norm.tail(&joined)?);
        }
        Ok(())
    }

    /// The base's features, if one of the branches comes from it, with the layers among them.
    fn base_for(
        &mut self,
        images: &Tensor,
        branches: &[String],
        request: &Request,
        mask: Option<&Tensor>,
    ) -> Result<Option<Features>> {
        let named = |name: &str| branches.iter().any(|branch| branch == name);
        let first =
            self.layers.iter().filter(|layer| named(&layer.branch)).map(|layer| layer.index);
        let first = first.min();
        let on_map = |head: &Head| head.is_serial() && (named(HEADS) || named(&head.name));
        if !named(BASE) && first.is_none() && !self.heads.iter().any(on_map) {
            return Ok(None);
        }
        let layers = first.map_or(0, |first| self.spec.blocks - first);
        let request = Request { layers, layers_before_norm: layers > 0, ..request.clone() };
        self.forward_base(images, &request, mask).map(Some)
    }
}
