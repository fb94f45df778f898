//! Self-supervised learning methods.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::abi::method;
use crate::component::{BackboneSpec, Capability, Network, Role};
use crate::wire::Envelope;
use crate::{Context, Error, Params, Result, Tensor};

/// A method: it drives the training step and is written once, against the supervision graph.
pub trait Objective: Send + Sized + 'static {
    /// Its configuration section.
    type Config: DeserializeOwned + JsonSchema;

    /// The method's own defaults for the rest of a run's configuration (views, train, hssl), as JSON. Those
    /// under the key `with_heads` hold only where `hssl.supervision` is not "none", and go before the
    /// others.
    fn recipe() -> serde_json::Value {
        serde_json::Value::Null
    }

    /// What it needs of the backbone, checked before anything is built.
    fn needs() -> Vec<Capability> {
        Vec::new()
    }

    /// Builds projections and buffers.
    fn new(config: Self::Config, setup: &ObjectiveSetup<'_>) -> Result<Self>;

    /// The loss of one batch.
    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss>;

    /// Called after the optimizer's step (once per accumulation window): centres, queues.
    fn after_step(&mut self, cx: &StepContext<'_>) -> Result<()>;

    /// What each projection of a network makes of images (B, 3, H, W), by which branches are compared
    /// (their discrepancy). Nothing, for a method that gives images no probabilities.
    fn logits(
        &mut self,
        cx: &StepContext<'_>,
        role: Role,
        images: &Tensor,
    ) -> Result<Vec<ProjectedLogits>> {
        let _ = (cx, role, images);
        Ok(Vec::new())
    }
}

/// What is compared along an edge.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// One vector per image.
    Image,
    /// One vector per patch.
    Patch,
}

/// A teacher branch that supervises a student branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Branch of the teacher: `base`, `base.layers.N` (its block N, from 0), a head's name, or `heads`
    /// (all heads joined).
    pub teacher: String,
    /// Branch of the student.
    pub student: String,
    /// Weight of its term.
    #[serde(default = "one")]
    pub weight: f64,
    /// What is compared.
    #[serde(default = "image")]
    pub level: Level,
    /// Edges of one pair project their branches apart from all other edges (the search of equations
    /// 6 and 7); without it, a branch has one projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
}

impl Edge {
    /// An edge of weight 1 between image-level vectors.
    pub fn new(teacher: impl Into<String>, student: impl Into<String>) -> Self {
        let (weight, level, pair) = (one(), image(), None);
        Self { teacher: teacher.into(), student: student.into(), weight, level, pair }
    }

    /// Its teacher's projection.
    pub fn teacher_end(&self) -> End {
        End { pair: self.pair.clone(), branch: self.teacher.clone() }
    }

    /// Its student's projection.
    pub fn student_end(&self) -> End {
        End { pair: self.pair.clone(), branch: self.student.clone() }
    }
}

/// Where an edge ends: a branch as it is projected for that edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct End {
    /// The pair of edges that has projections of its own, if there is one.
    pub pair: Option<String>,
    /// The branch.
    pub branch: String,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pair {
            Some(pair) => write!(f, "{pair}/{}", self.branch),
            None => f.write_str(&self.branch),
        }
    }
}

/// What a projection makes of images; the softmax over K is its assignment.
#[derive(Clone, Debug)]
pub struct ProjectedLogits {
    /// The projection.
    pub end: End,
    /// (B, K), over the temperature.
    pub plain: Tensor,
    /// The same with the centre taken off before, where there is one.
    pub centred: Tensor,
}

fn yes() -> bool {
    true
}
fn one() -> f64 {
    1.0
}
fn image() -> Level {
    Level::Image
}

/// How the terms of several edges make one loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Weighted mean within each level (the released program).
    #[default]
    Mean,
    /// Weighted sum (the paper's equation 1).
    Sum,
}

/// Joins the terms of edges: per level their weighted mean or sum, then the levels' sum.
pub fn reduce_edges(terms: &[(&Edge, Tensor)], reduction: Reduction) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for level in [Level::Image, Level::Patch] {
        let weights: f64 =
            terms.iter().filter(|(e, _)| e.level == level).map(|(e, _)| e.weight).sum();
        for (edge, term) in terms.iter().filter(|(edge, _)| edge.level == level) {
            let weight = match reduction {
                Reduction::Mean => edge.weight / weights,
                Reduction::Sum => edge.weight,
            };
            let term = term.scale(weight)?;
            total = Some(match total {
                Some(sum) => sum.add(&term)?,
                None => term,
            });
        }
    }
    total
        .ok_or_else(|| Error::refused("the supervision graph has no edge that this objective uses"))
}

/// A branch: what an edge may end at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchSpec {
    /// `base`, `base.layers.N`, a head's name, or `heads`.
    pub name: String,
    /// Channels.
    pub width: usize,
    /// Whether its map has the base's grid, so that its patches can be held against the base's.
    #[serde(default = "yes")]
    pub patches: bool,
    /// Whether it is a network of its own on the image, beside the base, and sees nothing that was done to
    /// the base's map.
    #[serde(default)]
    pub beside: bool,
}

/// Refuses patch edges to branches whose patches are not the base's; `fix` says what to change.
///
/// # Errors
/// There is one.
pub fn check_patches(
    objective: &str,
    edges: &[Edge],
    branches: &[BranchSpec],
    fix: &str,
) -> Result<()> {
    let without = |end: &String| branches.iter().any(|known| known.name == *end && !known.patches);
    for edge in edges.iter().filter(|edge| edge.level == Level::Patch) {
        if let Some(branch) = [&edge.teacher, &edge.student].into_iter().find(|end| without(end)) {
            refuse!(
                "{objective}: the patch edge {} -> {} needs patches at the base's places, which the \
                 branch {branch:?} does not have; {fix}",
                edge.teacher,
                edge.student
            );
        }
    }
    Ok(())
}

/// What an objective is built with.
#[derive(Clone, Debug)]
pub struct ObjectiveSetup<'a> {
    /// Parameters that are trained.
    pub student: Params<'a>,
    /// The same names again; the host keeps them the student's moving average.
    pub teacher: Params<'a>,
    /// Buffers: centres, queues.
    pub state: Params<'a>,
    /// Widths and strides of the base.
    pub base: BackboneSpec,
    /// The branches.
    pub branches: Vec<BranchSpec>,
    /// The supervision graph.
    pub edges: Vec<Edge>,
    /// How its terms are joined.
    pub reduction: Reduction,
    /// Whether all branches share one projection MLP.
    pub share_mlp: bool,
    /// Whether all branches share one last layer.
    pub share_last_layer: bool,
}

impl ObjectiveSetup<'_> {
    /// Width of a branch.
    pub fn width(&self, branch: &str) -> Result<usize> {
        self.branches
            .iter()
            .find(|known| known.name == branch)
            .map(|known| known.width)
            .ok_or_else(|| Error::refused(format!("there is no branch {branch:?}")))
    }
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepInfo {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Optimizer step, from 0.
    pub step: usize,
    /// Optimizer steps per epoch.
    pub steps_per_epoch: usize,
    /// Whether this step's metrics will be looked at.
    pub log: bool,
}

/// A batch of augmented views. Crop-major: all images of crop 0, then crop 1, ...
#[derive(Clone, Debug)]
pub struct Views {
    /// Global crops (G, B, 3, H, W).
    pub global: Tensor,
    /// Local crops (L, B, 3, h, w), if any.
    pub local: Option<Tensor>,
}

/// The result of a step.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The scalar that is minimised.
    pub total: Tensor,
    /// Its terms, scalars.
    pub parts: BTreeMap<String, Tensor>,
    /// What else is worth logging, scalars: the host shows them in a panel of their own, as
    /// `diagnostics/NAME`. It warns of a collapse where `mean_entropy.END` (of the teacher's mean
    /// assignment, share of log K), `std.END` or `target_std.END` (spread of embeddings, 1 for even) is
    /// near 0, or `teacher_entropy.END` near 1; END is a branch.
    pub metrics: BTreeMap<String, Tensor>,
}

/// The host during a step.
#[derive(Clone, Debug)]
pub struct StepContext<'a> {
    context: Context<'a>,
    /// Where the step stands.
    pub info: StepInfo,
}

impl<'a> StepContext<'a> {
    /// Wraps a call's context.
    pub fn new(context: Context<'a>, info: StepInfo) -> Self {
        Self { context, info }
    }

    /// General services.
    pub fn context(&self) -> &Context<'a> {
        &self.context
    }

    /// The trained network.
    pub fn student(&self) -> Network<'a> {
        Network::new(self.context, Role::Student)
    }

    /// Its moving average; nothing it computes has a history.
    pub fn teacher(&self) -> Network<'a> {
        Network::new(self.context, Role::Teacher)
    }

    /// A random choice of this step, such as a mask: what was given from outside under `name`
    /// (`hssl step --load`), or else what `draw` makes of the host's random numbers. Either way
    /// `hssl step --dump` has it, so that another program can choose the same.
    pub fn drawn(&self, name: &str, draw: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let request = || Envelope::new(&serde_json::json!({ "name": name }));
        let given = self.context.call(method::host::DRAWN, &request()?)?.find("value");
        let value = given.map_or_else(draw, Ok)?;
        self.context.call(method::host::DRAWN, &request()?.with("value", &value))?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_of_another_grid_are_refused() {
        let branch = |name: &str, patches: bool| {
            let beside = !patches;
            BranchSpec { name: name.into(), width: 8, patches, beside }
        };
        let branches = [branch("base", true), branch("aux", false)];
        let patch = |edge: Edge| Edge { level: Level::Patch, ..edge };
        let fine = [Edge::new("aux", "base"), patch(Edge::new("base", "base"))];
        check_patches("ibot", &fine, &branches, "remove it").unwrap();
        let edges = [patch(Edge::new("aux", "base"))];
        let error = check_patches("ibot", &edges, &branches, "remove it").unwrap_err().to_string();
        assert!(error.contains("\"aux\"") && error.ends_with("remove it"), "{error}");
    }
}
