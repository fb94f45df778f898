//! Joint-embedding methods: views of an image are projected to vectors that are to agree.
//!
//! SimCLR, BYOL, MoCo v3, VICReg and Barlow Twins differ in a [`Design`] and in the loss of one [`Pair`] of
//! views; branches, edges and crops are handled here. Every view predicts every other global view, as in
//! the papers with two global crops; local crops, which the papers do not have, predict and are no targets.

mod contrast;
mod pairs;
mod projections;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::component::{
    Edge, End, Level, Loss, Network, ObjectiveSetup, Reduction, StepContext, Views, reduce_edges,
};
use crate::nn::BatchNormMlpConfig;
use crate::{DType, Result, Tensor};
use pairs::mean_over_pairs;

pub use contrast::info_nce;
pub use pairs::{Pair, PairLoss};
pub use projections::Projections;

/// Whether a target that the student makes itself has a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetGradient {
    /// If its edge leads from a projection to itself, which is the papers' loss. Another branch's
    /// targets are fixed, as a teacher's are.
    #[default]
    Own,
    /// Always: the branches of an edge move towards each other.
    Always,
    /// Never.
    Never,
}

/// Which network makes the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The teacher, without a gradient.
    Teacher,
    /// The student.
    Student(TargetGradient),
}

impl Target {
    /// From the options `momentum_target` and `target_gradient`.
    pub fn new(momentum: bool, gradient: TargetGradient) -> Self {
        if momentum { Self::Teacher } else { Self::Student(gradient) }
    }
}

/// What sets a joint-embedding method apart, but for its loss.
#[derive(Clone, Copy, Debug)]
pub struct Design {
    /// Its name in messages.
    pub method: &'static str,
    /// Projects every branch.
    pub projector: BatchNormMlpConfig,
    /// Follows the projector where something is predicted.
    pub predictor: Option<BatchNormMlpConfig>,
    /// Where targets come from.
    pub target: Target,
    /// Whether batch norms see all crops of a size as one batch, rather than each crop by itself.
    pub crops_together: bool,
    /// Whether the loss stays the same if target and prediction change places, so that two views which
    /// are each other's target need it once.
    pub symmetric: bool,
}

/// Projections and predictors along a supervision graph.
#[derive(Debug)]
pub struct JointEmbedding {
    design: Design,
    edges: Vec<Edge>,
    reduction: Reduction,
    student: Projections,
    predictors: Option<Projections>,
    teacher: Option<Projections>,
}

/// Vectors (B, D) of crops, by projection.
type Embeddings = BTreeMap<End, Vec<Tensor>>;

impl JointEmbedding {
    /// Builds the student's MLPs, and the teacher's if targets come from there.
    pub fn new(design: Design, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        if let Some(edge) = setup.edges.iter().find(|edge| edge.level == Level::Patch) {
            refuse!(
                "{} compares images only; the edge {} -> {} is of level \"patch\": remove it, or use an \
                 objective with patch targets such as ibot",
                design.method,
                edge.teacher,
                edge.student
            );
        }
        let student_ends: BTreeSet<End> = setup.edges.iter().map(Edge::student_end).collect();
        let targets = setup.edges.iter().map(Edge::teacher_end);
        let ends: BTreeSet<End> = targets.chain(student_ends.iter().cloned()).collect();
        let width = |end: &End| setup.width(&end.branch);
        let projector =
            |params| Projections::new("projector", &ends, &design.projector, width, setup, params);
        let predictor = |config: BatchNormMlpConfig| {
            let width = |_: &End| Ok(design.projector.output);
            Projections::new("predictor", &student_ends, &config, width, setup, &setup.student)
        };
        let momentum = design.target == Target::Teacher;
        Ok(Self {
            student: projector(&setup.student)?,
            predictors: design.predictor.map(predictor).transpose()?,
            teacher: momentum.then(|| projector(&setup.teacher)).transpose()?,
            edges: setup.edges.clone(),
            reduction: setup.reduction,
            design,
        })
    }

    /// The loss of a batch: along each edge, the mean of `loss` over all pairs of views.
    pub fn step(
        &self,
        cx: &StepContext<'_>,
        views: &Views,
        loss: impl Fn(&Pair<'_>) -> Result<PairLoss>,
    ) -> Result<Loss> {
        if views.global.dim(1)? < 2 {
            refuse!(
                "{} needs at least two images at a time, for its batch norms and to tell them apart: set \
                 train.batch_size = 2 or more",
                self.design.method
            );
        }
        let target_ends: BTreeSet<End> = self.edges.iter().map(Edge::teacher_end).collect();
        let student_ends: BTreeSet<End> = self.edges.iter().map(Edge::student_end).collect();
        let by_teacher = |projections: &Projections| {
            self.embed(cx, cx.teacher(), projections, &target_ends, &views.global)
        };
        let by_student = |ends: &BTreeSet<End>, crops: &Tensor| {
            self.embed(cx, cx.student(), &self.student, ends, crops)
        };
        let teacher = self.teacher.as_ref().map(by_teacher).transpose()?;
        let student = match teacher {
            Some(_) => by_student(&student_ends, &views.global)?,
            None => by_student(&(&student_ends | &target_ends), &views.global)?,
        };
        let local = views.local.as_ref().map(|crops| by_student(&student_ends, crops));
        let local = local.transpose()?.unwrap_or_default();
        let mut metrics = BTreeMap::new();
        if cx.info.log {
            spread("std", &student, &mut metrics)?;
            teacher.iter().try_for_each(|made| spread("target_std", made, &mut metrics))?;
        }
        let predictions = self.predict(cx, &student_ends, [&student, &local])?;
        let (mut parts, mut terms) = (BTreeMap::new(), Vec::new());
        for edge in &self.edges {
            let name = format!("{}->{}", edge.teacher, edge.student);
            let (targets, mirrored) = self.targets(edge, teacher.as_ref().unwrap_or(&student))?;
            let mirrored = mirrored && self.design.symmetric;
            let predictions = of(&predictions, &edge.student_end())?;
            let Some((term, found)) = mean_over_pairs(&targets, predictions, mirrored, &loss)?
            else {
                refuse!(
                    "{} compares views of an image, and one global crop alone makes no pair of them: set \
                     views.global_crops_number = 2",
                    self.design.method
                );
            };
            if cx.info.log {
                metrics.extend(found.into_iter().map(|(what, x)| (format!("{what}.{name}"), x)));
            }
            parts.insert(name, term.clone());
            terms.push((edge, term));
        }
        Ok(Loss { total: reduce_edges(&terms, self.reduction)?, parts, metrics })
    }

    /// Crops (n, B, 3, H, W) by projection; without those of heads that cannot take their size.
    fn embed(
        &self,
        cx: &StepContext<'_>,
        network: Network<'_>,
        projections: &Projections,
        ends: &BTreeSet<End>,
        crops: &Tensor,
    ) -> Result<Embeddings> {
        let count = crops.dim(0)?;
        let (batches, each) = if self.design.crops_together {
            (vec![crops.flatten(0, 1)?], count)
        } else {
            ((0..count).map(|crop| crops.index(0, crop)).collect::<Result<_>>()?, 1)
        };
        let branches: BTreeSet<&str> = ends.iter().map(|end| end.branch.as_str()).collect();
        let branches: Vec<&str> = branches.into_iter().collect();
        let mut embeddings = Embeddings::new();
        for images in &batches {
            let encoded = network.encode(images, &branches, None)?;
            for end in ends {
                let Some(features) = encoded.find(&end.branch) else { continue };
                let rows = projections.forward(cx.context(), end, &features.image)?;
                let rows = rows.cast(DType::F32)?.chunk(each, 0)?;
                embeddings.entry(end.clone()).or_default().extend(rows);
            }
        }
        Ok(embeddings)
    }

    /// What the student predicts from its own vectors: those of the global crops, then the local ones.
    fn predict(
        &self,
        cx: &StepContext<'_>,
        ends: &BTreeSet<End>,
        embeddings: [&Embeddings; 2],
    ) -> Result<Embeddings> {
        let predict = |end: &End| {
            let rows = embeddings.into_iter().filter_map(|crops| crops.get(end)).flatten();
            let predict = |rows: &Tensor| match &self.predictors {
                Some(predictors) => predictors.forward(cx.context(), end, rows)?.cast(DType::F32),
                None => Ok(rows.clone()),
            };
            Ok((end.clone(), rows.map(predict).collect::<Result<_>>()?))
        };
        ends.iter().map(predict).collect()
    }

    /// An edge's targets, and whether they are its predictions as well.
    fn targets(&self, edge: &Edge, embeddings: &Embeddings) -> Result<(Vec<Tensor>, bool)> {
        let own = edge.teacher_end() == edge.student_end();
        let tracked = match self.design.target {
            Target::Teacher | Target::Student(TargetGradient::Never) => false,
            Target::Student(TargetGradient::Always) => true,
            Target::Student(TargetGradient::Own) => own,
        };
        let made = of(embeddings, &edge.teacher_end())?;
        if tracked {
            return Ok((made.to_vec(), own));
        }
        Ok((made.iter().map(Tensor::detach).collect::<Result<_>>()?, false))
    }
}

fn of<'e>(embeddings: &'e Embeddings, end: &End) -> Result<&'e [Tensor]> {
    match embeddings.get(end) {
        Some(crops) => Ok(crops),
        None => refuse!("{end} was not encoded: its head cannot take global crops of this size"),
    }
}

/// What tells of collapse: the standard deviation over the batch of vectors of unit length, times the
/// root of D. 1: they point everywhere; 0: they are all the same.
fn spread(
    name: &str,
    embeddings: &Embeddings,
    metrics: &mut BTreeMap<String, Tensor>,
) -> Result<()> {
    for (end, crops) in embeddings {
        if let Some(rows) = crops.first() {
            let root = (rows.dim(-1)? as f64).sqrt();
            let units = rows.detach()?.l2_normalize(-1, 1e-12)?;
            let std = units.var(&[0], 1, false)?.sqrt()?.mean_all()?.scale(root)?;
            metrics.insert(format!("{name}.{end}"), std);
        }
    }
    Ok(())
}

/// Refuses options of `method` that are not above 0.
pub fn above_zero(method: &str, options: &[(&str, f64)]) -> Result<()> {
    match options.iter().find(|(_, value)| !value.is_finite() || *value <= 0.0) {
        Some((key, value)) => {
            refuse!("{method}: {key} is {value}; expected a number above 0")
        }
        None => Ok(()),
    }
}

/// Refuses options of `method` that are 0.
pub fn at_least_one(method: &str, options: &[(&str, usize)]) -> Result<()> {
    match options.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => refuse!("{method}: {key} is 0; expected at least 1"),
        None => Ok(()),
    }
}
