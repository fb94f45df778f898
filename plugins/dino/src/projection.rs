//! Projection heads: an MLP per branch, L2 norm, weight-normed prototypes (spec of DINO's head).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{Edge, End, ObjectiveSetup};
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
/// by `hssl.share_mlp` and `hssl.share_last_layer`. Each pair of edges has projections of its own.
pub struct Projections {
    mlps: BTreeMap<End, ProjectionMlp>,
    last_layers: BTreeMap<End, WeightNormLinear>,
    share_mlp: bool,
    share_last_layer: bool,
}

const SHARED: &str = "shared";

/// Prototypes (K, C) of one step, by their layer.
pub type Prototypes = BTreeMap<End, Tensor>;

impl Projections {
    /// For every end of the supervision graph. In the student, an end that nothing supervises gets
    /// projections that are not trained: only the teacher uses them.
    pub fn new(config: &Config, setup: &ObjectiveSetup<'_>, params: &Params<'_>) -> Result<Self> {
        let (mut mlps, mut last_layers) = (BTreeMap::new(), BTreeMap::new());
        let supervised: BTreeSet<End> = setup.edges.iter().map(Edge::student_end).collect();
        let mut ends: Vec<End> = supervised.iter().cloned().collect();
        ends.extend(setup.edges.iter().map(Edge::teacher_end));
        // In the branches' order, pair by pair.
        let place = |end: &End| setup.branches.iter().position(|b| b.name == end.branch);
        ends.sort_by_key(|end| (end.pair.clone(), place(end)));
        ends.dedup();
        for end in ends {
            let params = match &end.pair {
                Some(pair) => params.pp("pairs").pp(pair),
                None => params.clone(),
            };
            let scope = |shared: bool| {
                let trained = shared || supervised.contains(&end);
                if trained { params.clone() } else { params.frozen() }
            };
            if let Entry::Vacant(slot) = mlps.entry(layer_of(&end, setup.share_mlp)) {
                let scope = scope(setup.share_mlp).pp("mlp").pp(&slot.key().branch);
                let built = ProjectionMlp::new(setup.width(&end.branch)?, config, &scope)?;
                slot.insert(built);
            }
            if let Entry::Vacant(slot) = last_layers.entry(layer_of(&end, setup.share_last_layer)) {
                let mut scope = scope(setup.share_last_layer).pp("last_layer");
                if !setup.share_last_layer {
                    scope = scope.pp(&slot.key().branch);
                }
                let built = WeightNormLinear::new(
                    config.bottleneck_dim,
                    config.out_dim,
                    config.norm_last_layer,
                    &scope,
                )?;
                slot.insert(built);
            }
        }
        Ok(Self {
            mlps,
            last_layers,
            share_mlp: setup.share_mlp,
            share_last_layer: setup.share_last_layer,
        })
    }

    /// The prototypes of some ends. They stay the same within a step: asked for once, they are normed
    /// once rather than for every branch and resolution.
    pub fn prototypes<'e>(&self, ends: impl IntoIterator<Item = &'e End>) -> Result<Prototypes> {
        let layers: BTreeSet<End> = ends.into_iter().map(|end| self.last_layer_of(end)).collect();
        let weight = |key: End| {
            let layer = self.last_layers.get(&key).ok_or_else(|| missing(&key))?;
            Ok((key, layer.weight()?))
        };
        layers.into_iter().map(weight).collect()
    }

    /// Image-level vectors (n, C) of an end's branch to logits (n, K).
    pub fn forward(&self, end: &End, image: &Tensor, prototypes: &Prototypes) -> Result<Tensor> {
        let mlp = self.mlps.get(&self.mlp_of(end)).ok_or_else(|| missing(end))?;
        let prototypes = prototypes.get(&self.last_layer_of(end));
        mlp.forward(image)?.linear(prototypes.ok_or_else(|| missing(end))?, None)
    }

    fn mlp_of(&self, end: &End) -> End {
        layer_of(end, self.share_mlp)
    }

    fn last_layer_of(&self, end: &End) -> End {
        layer_of(end, self.share_last_layer)
    }
}

/// The layer that serves an end: its own, or the one that its pair shares.
fn layer_of(end: &End, shared: bool) -> End {
    let branch = if shared { SHARED.to_owned() } else { end.branch.clone() };
    End { pair: end.pair.clone(), branch }
}

fn missing(end: &End) -> Error {
    Error::refused(format!("dino: {end} has no projection"))
}
