//! The loss: every student view predicts the teacher's assignment of every other global view.

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{
    Edge, End, Level, Loss, Objective, ObjectiveSetup, ProjectedLogits, Reduction, Role,
    StepContext, Views, reduce_edges,
};
use hssl_plugin_api::self_distillation::{
    CropLogits, Diagnostics, ProjectionConfig, Projections, TeacherTemperature, branches_of,
    cross_view_loss,
};
use hssl_plugin_api::serde_json::Value;
use hssl_plugin_api::{Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::assignment::{Assignment, Centering};
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

    fn projections(&self) -> ProjectionConfig {
        ProjectionConfig {
            hidden_dim: self.hidden_dim,
            bottleneck_dim: self.bottleneck_dim,
            out_dim: self.out_dim,
            patch_out_dim: None,
            norm_last_layer: self.norm_last_layer,
        }
    }

    fn teacher_temperature(&self) -> TeacherTemperature {
        TeacherTemperature {
            first: self.warmup_teacher_temp,
            last: self.teacher_temp,
            delay: 0,
            warmup: self.warmup_teacher_temp_epochs,
        }
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
            student: Projections::new(&config.projections(), setup, &setup.student)?,
            teacher: Projections::new(&config.projections(), setup, &setup.teacher)?,
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
            let (target, prediction) =
                (&targets[&edge.teacher_end()], &predictions[&edge.student_end()]);
            let term = cross_view_loss(target, prediction, self.config.student_temp)?;
            parts.insert(format!("{}->{}", edge.teacher, edge.student), term.clone());
            terms.push((edge, term));
        }
        let metrics = if cx.info.log {
            self.diagnostics(cx, &targets, &predictions)?
        } else {
            BTreeMap::new()
        };
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
        let centres = match role {
            Role::Teacher => {
                self.assignments.iter().filter_map(|(end, a)| Some((end, a.centre()?))).collect()
            }
            Role::Student => BTreeMap::new(),
        };
        projections.project_images(&ends, &encoded, temperature, &centres)
    }
}

impl Dino {
    /// The teacher's assignments of the global crops, (G, B, K) by projection.
    fn targets(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<BTreeMap<End, Tensor>> {
        let dims = views.global.dims();
        let (crops, batch) = (dims[0], dims[1]);
        let branches = branches_of(self.assignments.keys());
        let encoded = cx.teacher().encode(&views.global.flatten(0, 1)?, &branches, None)?;
        let ends = self.assignments.keys().map(|end| (Level::Image, end));
        let prototypes = self.teacher.prototypes(ends)?;
        let temperature = self.config.teacher_temperature().at(cx.info.epoch);
        let mut targets = BTreeMap::new();
        for (end, assignment) in &mut self.assignments {
            let image = &encoded.get(&end.branch)?.image;
            let logits = self.teacher.forward(Level::Image, end, image, &prototypes)?.detach()?;
            let target = assignment.targets(cx, &logits, temperature)?;
            targets.insert(end.clone(), target.reshape((crops, batch, self.config.out_dim))?);
        }
        Ok(targets)
    }

    /// The student's logits of all crops by projection; one forward pass per resolution.
    fn predictions(
        &self,
        cx: &StepContext<'_>,
        views: &Views,
    ) -> Result<BTreeMap<End, CropLogits>> {
        let ends: BTreeSet<End> = self.edges.iter().map(Edge::student_end).collect();
        let branches = branches_of(&ends);
        let prototypes = self.student.prototypes(ends.iter().map(|end| (Level::Image, end)))?;
        let encode = |crops: &Tensor| -> Result<_> {
            let encoded = cx.student().encode(&crops.flatten(0, 1)?, &branches, None)?;
            Ok((encoded, crops.dim(0)?))
        };
        let (global, crops) = encode(&views.global)?;
        let local = views.local.as_ref().map(encode).transpose()?;
        let local = local.as_ref().map(|(encoded, crops)| (encoded, *crops));
        CropLogits::of(&self.student, &prototypes, &ends, (&global, crops), local)
    }

    fn diagnostics(
        &self,
        cx: &StepContext<'_>,
        targets: &BTreeMap<End, Tensor>,
        predictions: &BTreeMap<End, CropLogits>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut diagnostics = Diagnostics::default();
        let temperature = self.config.teacher_temperature().at(cx.info.epoch);
        diagnostics.number(cx, "teacher_temp", temperature)?;
        for (end, target) in targets {
            diagnostics.targets("", end, target)?;
        }
        for (end, assignment) in &self.assignments {
            assignment.centre().map(|centre| diagnostics.centre("", end, centre)).transpose()?;
        }
        for edge in &self.edges {
            let (target, prediction) =
                (&targets[&edge.teacher_end()], &predictions[&edge.student_end()]);
            diagnostics.agreement(edge, target, prediction)?;
        }
        Ok(diagnostics.finish())
    }
}
