//! The loss: every student view predicts the teacher's assignment of every other global view.

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{
    Edge, End, Level, Loss, Objective, ObjectiveSetup, ProjectedLogits, Reduction, Role,
    StepContext, Views, reduce_edges,
};
use hssl_plugin_api::serde_json::Value;
use hssl_plugin_api::{Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::assignment::{Assignment, Centering};
use crate::centre::Centre;
use crate::projection::Projections;
use crate::recipe::recipe;

/// Options of the `dino` objective.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Prototypes K.
    #[serde(default = "out_dim")]
    pub out_dim: usize,
    /// Hidden width of the projection MLP.
    #[serde(default = "hidden_dim")]
    pub hidden_dim: usize,
    /// Output width of the projection MLP.
    #[serde(default = "bottleneck_dim")]
    pub bottleneck_dim: usize,
    /// Keep the norms of the prototypes at 1.
    #[serde(default = "yes")]
    pub norm_last_layer: bool,
    /// Temperature of the student.
    #[serde(default = "student_temp")]
    pub student_temp: f64,
    /// Temperature of the teacher after its warm-up.
    #[serde(default = "teacher_temp")]
    pub teacher_temp: f64,
    /// Temperature of the teacher at the start.
    #[serde(default = "teacher_temp")]
    pub warmup_teacher_temp: f64,
    /// Epochs over which it rises linearly.
    #[serde(default)]
    pub warmup_teacher_temp_epochs: usize,
    /// What keeps the prototypes in use: `mean` (DINO) or `sinkhorn_knopp` (DINOv2).
    #[serde(default = "mean")]
    pub centering: Centering,
    /// With `mean`: share of the old centre that is kept in a step.
    #[serde(default = "center_momentum")]
    pub center_momentum: f64,
}

fn out_dim() -> usize {
    65_536
}
fn hidden_dim() -> usize {
    2048
}
fn bottleneck_dim() -> usize {
    256
}
fn yes() -> bool {
    true
}
fn student_temp() -> f64 {
    0.1
}
fn teacher_temp() -> f64 {
    0.04
}
fn mean() -> Centering {
    Centering::Mean
}
fn center_momentum() -> f64 {
    0.9
}

impl Config {
    fn check(&self) -> Result<()> {
        for (key, value) in [
            ("student_temp", self.student_temp),
            ("teacher_temp", self.teacher_temp),
            ("warmup_teacher_temp", self.warmup_teacher_temp),
        ] {
            if value.is_nan() || value <= 0.0 {
                refuse!("dino: {key} is {value}; expected a number above 0");
            }
        }
        if !(0.0..=1.0).contains(&self.center_momentum) {
            refuse!("dino: center_momentum is {}; expected 0 to 1", self.center_momentum);
        }
        if self.out_dim < 2 || self.hidden_dim == 0 || self.bottleneck_dim == 0 {
            refuse!("dino: out_dim must be at least 2, hidden_dim and bottleneck_dim at least 1");
        }
        Ok(())
    }

    /// Linear from the warm-up's start to its end over its epochs, then constant.
    fn teacher_temp_at(&self, epoch: usize) -> f64 {
        let warmup = self.warmup_teacher_temp_epochs;
        if epoch >= warmup {
            return self.teacher_temp;
        }
        let share = if warmup > 1 { epoch as f64 / (warmup - 1) as f64 } else { 0.0 };
        self.warmup_teacher_temp + share * (self.teacher_temp - self.warmup_teacher_temp)
    }
}

/// Projections of both networks, and how each teacher projection that is a target assigns prototypes.
pub struct Dino {
    config: Config,
    edges: Vec<Edge>,
    reduction: Reduction,
    student: Projections,
    teacher: Projections,
    assignments: BTreeMap<End, Assignment>,
}

/// Student logits of one projection.
struct Logits {
    /// (G, B, K).
    global: Tensor,
    /// (L, B, K).
    local: Option<Tensor>,
}

impl Objective for Dino {
    type Config = Config;

    fn recipe() -> Value {
        recipe()
    }

    fn new(config: Config, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        if let Some(edge) = setup.edges.iter().find(|edge| edge.level == Level::Patch) {
            refuse!(
                "dino compares images only; the edge {} -> {} is of level \"patch\": remove it, or \
                 use an objective with patch targets such as ibot",
                edge.teacher,
                edge.student
            );
        }
        let targets: BTreeSet<End> = setup.edges.iter().map(Edge::teacher_end).collect();
        let assignment =
            |end: &End| Ok((end.clone(), Assignment::new(end, &config, &setup.state)?));
        Ok(Self {
            student: Projections::new(&config, setup, &setup.student)?,
            teacher: Projections::new(&config, setup, &setup.teacher)?,
            assignments: targets.iter().map(assignment).collect::<Result<_>>()?,
            edges: setup.edges.clone(),
            reduction: setup.reduction,
            config,
        })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        let targets = self.targets(cx, views)?;
        let predictions = self.predictions(cx, views)?;
        let mut parts = BTreeMap::new();
        let mut terms = Vec::new();
        for edge in &self.edges {
            let term =
                self.term(&targets[&edge.teacher_end()], &predictions[&edge.student_end()])?;
            parts.insert(format!("{}->{}", edge.teacher, edge.student), term.clone());
            terms.push((edge, term));
        }
        let metrics = if cx.info.log { diagnostics(&targets)? } else { BTreeMap::new() };
        Ok(Loss { total: reduce_edges(&terms, self.reduction)?, parts, metrics })
    }

    fn after_step(&mut self, cx: &StepContext<'_>) -> Result<()> {
        self.assignments.values_mut().try_for_each(|assignment| assignment.update(cx.context()))
    }

    /// By the temperature of the teacher after its warm-up, or the student's. A teacher's projection
    /// that is no target has no centre and takes another one's of its pair.
    fn logits(
        &mut self,
        cx: &StepContext<'_>,
        role: Role,
        images: &Tensor,
    ) -> Result<Vec<ProjectedLogits>> {
        let (network, projections, temperature) = match role {
            Role::Teacher => (cx.teacher(), &self.teacher, self.config.teacher_temp),
            Role::Student => (cx.student(), &self.student, self.config.student_temp),
        };
        let ends = self.edges.iter().flat_map(|edge| [edge.teacher_end(), edge.student_end()]);
        let ends: BTreeSet<End> = ends.collect();
        let encoded = network.encode(images, &branches_of(&ends), None)?;
        let prototypes = projections.prototypes(&ends)?;
        let project = |end: End| {
            let logits =
                projections.forward(&end, &encoded.get(&end.branch)?.image, &prototypes)?;
            let plain = logits.scale(1.0 / temperature)?;
            let centred = match self.centre_for(&end).filter(|_| role == Role::Teacher) {
                Some(centre) => centre.centred(&logits, temperature)?,
                None => plain.clone(),
            };
            Ok(Some(ProjectedLogits { end, plain, centred }))
        };
        ends.into_iter().filter_map(|end| project(end).transpose()).collect()
    }
}

/// The branches that have to be encoded for some projections.
fn branches_of<'e>(ends: impl IntoIterator<Item = &'e End>) -> Vec<&'e str> {
    let branches: BTreeSet<&str> = ends.into_iter().map(|end| end.branch.as_str()).collect();
    branches.into_iter().collect()
}

impl Dino {
    /// The teacher's assignments of the global crops, (G, B, K) by projection.
    fn targets(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<BTreeMap<End, Tensor>> {
        let dims = views.global.dims();
        let (crops, batch) = (dims[0], dims[1]);
        let branches = branches_of(self.assignments.keys());
        let encoded = cx.teacher().encode(&views.global.flatten(0, 1)?, &branches, None)?;
        let prototypes = self.teacher.prototypes(self.assignments.keys())?;
        let temperature = self.config.teacher_temp_at(cx.info.epoch);
        let mut targets = BTreeMap::new();
        for (end, assignment) in &mut self.assignments {
            let image = &encoded.get(&end.branch)?.image;
            let logits = self.teacher.forward(end, image, &prototypes)?.detach()?;
            let target = assignment.targets(cx, &logits, temperature)?;
            targets.insert(end.clone(), target.reshape((crops, batch, self.config.out_dim))?);
        }
        Ok(targets)
    }

    /// The student's logits of all crops by projection; one forward pass per resolution.
    fn predictions(&self, cx: &StepContext<'_>, views: &Views) -> Result<BTreeMap<End, Logits>> {
        let ends: BTreeSet<End> = self.edges.iter().map(Edge::student_end).collect();
        let branches = branches_of(&ends);
        let prototypes = self.student.prototypes(&ends)?;
        let encode = |crops: &Tensor| -> Result<BTreeMap<&End, Tensor>> {
            let dims = crops.dims();
            let encoded = cx.student().encode(&crops.flatten(0, 1)?, &branches, None)?;
            let mut logits = BTreeMap::new();
            for end in &ends {
                let Some(features) = encoded.find(&end.branch) else { continue };
                let rows = self.student.forward(end, &features.image, &prototypes)?;
                logits.insert(end, rows.reshape((dims[0], dims[1], self.config.out_dim))?);
            }
            Ok(logits)
        };
        let mut global = encode(&views.global)?;
        let mut local = views.local.as_ref().map(encode).transpose()?;
        let logits = |end: &End| {
            let local = local.as_mut().and_then(|local| local.remove(end));
            Some((end.clone(), Logits { global: global.remove(end)?, local }))
        };
        Ok(ends.iter().filter_map(logits).collect())
    }

    /// Mean over the pairs (teacher crop q, student crop v), q != v, of the batch's mean cross-entropy.
    ///
    /// Cross-entropy is linear in its target, so the crops q that a student crop v is compared with
    /// enter as their mean: one term per v instead of one per pair.
    fn term(&self, targets: &Tensor, predictions: &Logits) -> Result<Tensor> {
        let crops = targets.dims()[0];
        let locals = predictions.local.as_ref().map_or(0, |local| local.dims()[0]);
        let pairs = crops * (crops + locals - 1);
        if pairs == 0 {
            refuse!("dino: one global crop and no local crop make no pair of views");
        }
        let all = targets.sum(&[0], true)?;
        let mut total: Option<Tensor> = None;
        if crops > 1 {
            let others = all.sub(targets)?.scale(1.0 / (crops - 1) as f64)?;
            let loss = self.cross_entropy(&predictions.global, &others)?;
            total = Some(loss.scale((crops * (crops - 1)) as f64 / pairs as f64)?);
        }
        if let Some(local) = &predictions.local {
            // Crop by crop: they share one target (B, K), which is not repeated over them.
            let mean = all.squeeze(0)?.scale(1.0 / crops as f64)?;
            for crop in 0..locals {
                let loss = self.cross_entropy(&local.index(0, crop)?, &mean)?;
                let loss = loss.scale(crops as f64 / pairs as f64)?;
                total = Some(match total {
                    Some(sum) => sum.add(&loss)?,
                    None => loss,
                });
            }
        }
        match total {
            Some(total) => Ok(total),
            None => refuse!("dino: no pair of views"),
        }
    }

    fn centre_for(&self, end: &End) -> Option<&Centre> {
        let others = self.assignments.iter().filter(|(other, _)| other.pair == end.pair);
        let own = self.assignments.get(end);
        own.into_iter().chain(others.map(|(_, other)| other)).find_map(Assignment::centre)
    }

    fn cross_entropy(&self, logits: &Tensor, target: &Tensor) -> Result<Tensor> {
        logits.soft_cross_entropy(target, self.config.student_temp)?.mean_all()
    }
}

/// What tells of collapse: entropy of single assignments (0: one prototype each) and of their mean
/// (0: the same prototype for all; at most log K).
fn diagnostics(targets: &BTreeMap<End, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let entropy = |p: &Tensor| -> Result<Tensor> {
        p.mul(&p.clamp(1e-12, 1.0)?.log()?)?.sum(&[-1], false)?.mean_all()?.neg()
    };
    let mut metrics = BTreeMap::new();
    for (end, target) in targets {
        metrics.insert(format!("teacher_entropy.{end}"), entropy(target)?);
        metrics.insert(format!("mean_entropy.{end}"), entropy(&target.mean(&[0, 1], false)?)?);
    }
    Ok(metrics)
}
