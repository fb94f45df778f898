//! MLPs by which branches are projected for the edges of a supervision graph.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::component::{Edge, End, ObjectiveSetup};
use crate::nn::{BatchNormMlp, BatchNormMlpConfig};
use crate::{Context, Error, Params, Result, Tensor};

/// One MLP for each end of an edge, or one for all ends of a pair with `hssl.share_mlp`.
#[derive(Debug)]
pub struct Projections {
    mlps: BTreeMap<End, BatchNormMlp>,
    shared: bool,
}

impl Projections {
    /// The scope `name` of `params`, for `ends`. An end that nothing supervises is not trained: only
    /// targets come from there.
    pub fn new(
        name: &str,
        ends: &BTreeSet<End>,
        config: &BatchNormMlpConfig,
        input: impl Fn(&End) -> Result<usize>,
        setup: &ObjectiveSetup<'_>,
        params: &Params<'_>,
    ) -> Result<Self> {
        let shared = setup.share_mlp;
        let supervised: BTreeSet<End> = setup.edges.iter().map(Edge::student_end).collect();
        let mut mlps = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        for end in ends {
            let (key, width) = (key(end, shared), input(end)?);
            let built_for = *inputs.entry(key.clone()).or_insert(width);
            if built_for != width {
                refuse!(
                    "hssl.share_mlp: the {name} cannot be one for branches of {built_for} and {width} \
                     channels; set hssl.share_mlp = false"
                );
            }
            if let Entry::Vacant(slot) = mlps.entry(key) {
                let trained = shared || supervised.contains(end);
                let mut scope = if trained { params.clone() } else { params.frozen() };
                if let Some(pair) = &end.pair {
                    scope = scope.pp("pairs").pp(pair);
                }
                let scope = scope.pp(name).pp(&slot.key().branch);
                slot.insert(BatchNormMlp::new(width, config, &scope)?);
            }
        }
        Ok(Self { mlps, shared })
    }

    /// (n, C) to (n, D), by the batch's statistics.
    pub fn forward(&self, cx: &Context<'_>, end: &End, x: &Tensor) -> Result<Tensor> {
        let mlp = self.mlps.get(&key(end, self.shared));
        mlp.ok_or_else(|| Error::refused(format!("{end} has no projection")))?.forward(cx, x, true)
    }
}

/// The MLP that serves an end: its own, or the one that its pair shares.
fn key(end: &End, shared: bool) -> End {
    let branch = if shared { "shared".to_owned() } else { end.branch.clone() };
    End { pair: end.pair.clone(), branch }
}
