//! Projection heads: an MLP per branch, L2 norm, weight-normed prototypes (spec of DINO's head).

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::ObjectiveSetup;
use hssl_plugin_api::nn::{Linear, WeightNormLinear};
use hssl_plugin_api::{Error, Params, Result, Tensor};

use crate::objective::Config;

/// lin, GELU, lin, GELU, lin; then unit length.
struct ProjectionMlp {
    layers: [Linear; 3],
}

impl ProjectionMlp {
    fn new(width: usize, config: &Config, params: &Params<'_>) -> Result<Self> {
        let (hidden, out) = (config.hidden_dim, config.bottleneck_dim);
        Ok(Self {
            layers: [
                Linear::new(width, hidden, &params.pp(0))?,
                Linear::new(hidden, hidden, &params.pp(2))?,
                Linear::new(hidden, out, &params.pp(4))?,
            ],
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.layers;
        let x = first.forward(x)?.gelu()?;
        third.forward(&second.forward(&x)?.gelu()?)?.l2_normalize(-1, 1e-12)
    }
}

/// The projections of one network: separate MLPs and one set of prototypes, unless shared or split
/// by `hssl.share_mlp` and `hssl.share_last_layer`.
pub struct Projections {
    mlps: BTreeMap<String, ProjectionMlp>,
    last_layers: BTreeMap<String, WeightNormLinear>,
    share_mlp: bool,
    share_last_layer: bool,
}

const SHARED: &str = "shared";

/// Prototypes (K, C) of one step, by the name of their layer.
pub type Prototypes = BTreeMap<String, Tensor>;

impl Projections {
    /// For every branch of the supervision graph. In the student, a branch that nothing supervises
    /// gets projections that are not trained: only the teacher uses them.
    pub fn new(config: &Config, setup: &ObjectiveSetup<'_>, params: &Params<'_>) -> Result<Self> {
        let mut projections = Self {
            mlps: BTreeMap::new(),
            last_layers: BTreeMap::new(),
            share_mlp: setup.share_mlp,
            share_last_layer: setup.share_last_layer,
        };
        let supervised = |name: &str| setup.edges.iter().any(|edge| edge.student == name);
        let used =
            |name: &str| setup.edges.iter().any(|edge| edge.teacher == name) || supervised(name);
        for branch in setup.branches.iter().filter(|branch| used(&branch.name)) {
            let name = branch.name.as_str();
            let scope = |trained: bool| if trained { params.clone() } else { params.frozen() };
            let (mlp, trained) = match setup.share_mlp {
                true => (SHARED, true),
                false => (name, supervised(name)),
            };
            if !projections.mlps.contains_key(mlp) {
                let built =
                    ProjectionMlp::new(branch.width, config, &scope(trained).pp("mlp").pp(mlp))?;
                projections.mlps.insert(mlp.to_owned(), built);
            }
            let (key, params, trained) = match setup.share_last_layer {
                true => (SHARED, params.pp("last_layer"), true),
                false => (name, params.pp("last_layer").pp(name), supervised(name)),
            };
            if !projections.last_layers.contains_key(key) {
                let params = if trained { params } else { params.frozen() };
                let built = WeightNormLinear::new(
                    config.bottleneck_dim,
                    config.out_dim,
                    config.norm_last_layer,
                    &params,
                )?;
                projections.last_layers.insert(key.to_owned(), built);
            }
        }
        Ok(projections)
    }

    /// The prototypes of some branches. They stay the same within a step: asked for once, they are
    /// normed once rather than for every branch and resolution.
    pub fn prototypes(&self, branches: &[&str]) -> Result<Prototypes> {
        let layers: BTreeSet<&str> =
            branches.iter().map(|branch| self.last_layer_of(branch)).collect();
        let weight = |name: &str| {
            let layer = self.last_layers.get(name).ok_or_else(|| missing(name))?;
            Ok((name.to_owned(), layer.weight()?))
        };
        layers.into_iter().map(weight).collect()
    }

    /// Image-level vectors (n, C) of a branch to logits (n, K).
    pub fn forward(&self, branch: &str, image: &Tensor, prototypes: &Prototypes) -> Result<Tensor> {
        let mlp = if self.share_mlp { SHARED } else { branch };
        let x = self.mlps.get(mlp).ok_or_else(|| missing(branch))?.forward(image)?;
        let prototypes = prototypes.get(self.last_layer_of(branch));
        x.linear(prototypes.ok_or_else(|| missing(branch))?, None)
    }

    fn last_layer_of<'n>(&self, branch: &'n str) -> &'n str {
        if self.share_last_layer { SHARED } else { branch }
    }
}

fn missing(branch: &str) -> Error {
    Error::refused(format!("dino: branch {branch:?} has no projection"))
}
