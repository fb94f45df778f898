//! Projection heads: an MLP per branch, L2 norm, weight-normed prototypes (spec of DINO's head).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::component::{Edge, EncodedBranches, End, Level, ObjectiveSetup, ProjectedLogits};
use crate::nn::{Linear, WeightNormLinear};
use crate::self_distillation::Centre;
use crate::{Error, Params, Result, Tensor};

/// Sizes of the projections of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionConfig {
    /// Hidden width of the MLP.
    pub hidden_dim: usize,
    /// Output width of the MLP.
    pub bottleneck_dim: usize,
    /// Prototypes K.
    pub out_dim: usize,
    /// Prototypes that patches have apart from those of images; none if they share them. Their MLP
    /// they share in any case.
    pub patch_out_dim: Option<usize>,
    /// Keep the norms of the prototypes at 1.
    pub norm_last_layer: bool,
}

/// lin, GELU, lin, GELU, lin; then unit length.
#[derive(Debug)]
struct ProjectionMlp {
    layers: [Linear; 3],
}

impl ProjectionMlp {
    fn new(width: usize, config: &ProjectionConfig, params: &Params<'_>) -> Result<Self> {
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
#[derive(Debug)]
pub struct Projections {
    mlps: BTreeMap<End, ProjectionMlp>,
    last_layers: BTreeMap<LastLayer, WeightNormLinear>,
    sharing: Sharing,
}

/// A set of prototypes: what it compares, and for which end.
type LastLayer = (Level, End);

/// Who shares layers with whom.
#[derive(Clone, Copy, Debug)]
struct Sharing {
    mlp: bool,
    last_layer: bool,
    /// Whether patches have the prototypes of images.
    levels: bool,
}

const SHARED: &str = "shared";

impl Sharing {
    fn mlp_of(self, end: &End) -> End {
        layer_of(end, self.mlp)
    }

    fn last_layer_of(self, level: Level, end: &End) -> LastLayer {
        let level = if self.levels { Level::Image } else { level };
        (level, layer_of(end, self.last_layer))
    }
}

/// The layer that serves an end: its own, or the one that its pair shares.
fn layer_of(end: &End, shared: bool) -> End {
    let branch = if shared { SHARED.to_owned() } else { end.branch.clone() };
    End { pair: end.pair.clone(), branch }
}

/// Prototypes (K, C) of one step.
#[derive(Debug)]
pub struct Prototypes {
    weights: BTreeMap<LastLayer, Tensor>,
}

impl Projections {
    /// For every end of the supervision graph. In the student, an end that nothing supervises gets
    /// projections that are not trained: only the teacher uses them.
    pub fn new(
        config: &ProjectionConfig,
        setup: &ObjectiveSetup<'_>,
        params: &Params<'_>,
    ) -> Result<Self> {
        let sharing = Sharing {
            mlp: setup.share_mlp,
            last_layer: setup.share_last_layer,
            levels: config.patch_out_dim.is_none(),
        };
        let (mut mlps, mut last_layers) = (BTreeMap::new(), BTreeMap::new());
        let ends_of = |end: fn(&Edge) -> End| setup.edges.iter().map(move |e| (e.level, end(e)));
        let supervised: BTreeSet<(Level, End)> = ends_of(Edge::student_end).collect();
        let mut ends: Vec<(Level, End)> = ends_of(Edge::teacher_end).collect();
        ends.extend(supervised.iter().cloned());
        // In the branches' order, pair by pair.
        let place = |end: &End| setup.branches.iter().position(|b| b.name == end.branch);
        ends.sort_by_key(|(level, end)| (end.pair.clone(), place(end), *level));
        ends.dedup();
        for (level, end) in ends {
            let params = match &end.pair {
                Some(pair) => params.pp("pairs").pp(pair),
                None => params.clone(),
            };
            let scope = |trained: bool| if trained { params.clone() } else { params.frozen() };
            if let Entry::Vacant(slot) = mlps.entry(sharing.mlp_of(&end)) {
                let trained = supervised.iter().any(|(_, s)| sharing.mlp_of(s) == *slot.key());
                let scope = scope(trained).pp("mlp").pp(&slot.key().branch);
                slot.insert(ProjectionMlp::new(setup.width(&end.branch)?, config, &scope)?);
            }
            if let Entry::Vacant(slot) = last_layers.entry(sharing.last_layer_of(level, &end)) {
                let serves = |(level, end): &_| sharing.last_layer_of(*level, end) == *slot.key();
                let scope = scope(supervised.iter().any(serves));
                let (mut scope, outputs) = match (slot.key().0, config.patch_out_dim) {
                    (Level::Patch, Some(outputs)) => (scope.pp("patch_last_layer"), outputs),
                    _ => (scope.pp("last_layer"), config.out_dim),
                };
                if !sharing.last_layer {
                    scope = scope.pp(&slot.key().1.branch);
                }
                slot.insert(WeightNormLinear::new(
                    config.bottleneck_dim,
                    outputs,
                    config.norm_last_layer,
                    &scope,
                )?);
            }
        }
        Ok(Self { mlps, last_layers, sharing })
    }

    /// The prototypes of some ends. They stay the same within a step: asked for once, they are normed
    /// once rather than for every branch and resolution.
    pub fn prototypes<'e>(
        &self,
        ends: impl IntoIterator<Item = (Level, &'e End)>,
    ) -> Result<Prototypes> {
        let layers: BTreeSet<LastLayer> =
            ends.into_iter().map(|(level, end)| self.sharing.last_layer_of(level, end)).collect();
        let weight = |key: LastLayer| {
            let layer = self.last_layers.get(&key).ok_or_else(|| missing(&key.1))?;
            Ok((key, layer.weight()?))
        };
        Ok(Prototypes { weights: layers.into_iter().map(weight).collect::<Result<_>>()? })
    }

    /// Vectors (n, C) of an end's branch to logits (n, K).
    pub fn forward(
        &self,
        level: Level,
        end: &End,
        vectors: &Tensor,
        prototypes: &Prototypes,
    ) -> Result<Tensor> {
        self.score(level, end, &self.embed(end, vectors)?, prototypes)
    }

    /// Vectors (n, C) of an end's branch to unit vectors (n, bottleneck).
    pub fn embed(&self, end: &End, vectors: &Tensor) -> Result<Tensor> {
        let mlp = self.mlps.get(&self.sharing.mlp_of(end)).ok_or_else(|| missing(end))?;
        mlp.forward(vectors)
    }

    /// What [`Projections::embed`] returned to logits (n, K).
    pub fn score(
        &self,
        level: Level,
        end: &End,
        embedded: &Tensor,
        prototypes: &Prototypes,
    ) -> Result<Tensor> {
        let weight = prototypes.weights.get(&self.sharing.last_layer_of(level, end));
        embedded.linear(weight.ok_or_else(|| missing(end))?, None)
    }

    /// What the ends of a supervision graph make of encoded images, over a temperature. An end without
    /// a centre, as one that is no target, takes another one's of its pair.
    pub fn project_images(
        &self,
        ends: &BTreeSet<End>,
        encoded: &EncodedBranches,
        temperature: f64,
        centres: &BTreeMap<&End, &Centre>,
    ) -> Result<Vec<ProjectedLogits>> {
        let prototypes = self.prototypes(ends.iter().map(|end| (Level::Image, end)))?;
        let project = |end: &End| {
            let Some(features) = encoded.find(&end.branch) else { return Ok(None) };
            let logits = self.forward(Level::Image, end, &features.image, &prototypes)?;
            let plain = logits.scale(1.0 / temperature)?;
            let own = centres.get(end);
            let of_pair = || centres.iter().find(|(other, _)| other.pair == end.pair);
            let centred = match own.or_else(|| of_pair().map(|(_, centre)| centre)) {
                Some(centre) => centre.centred(&logits, temperature)?,
                None => plain.clone(),
            };
            Ok(Some(ProjectedLogits { end: end.clone(), plain, centred }))
        };
        ends.iter().filter_map(|end| project(end).transpose()).collect()
    }
}

fn missing(end: &End) -> Error {
    Error::refused(format!("{end} has no projection"))
}
