//! The loss of masked self-distillation: DINO's between views, and one between a view's hidden patches
//! and the same patches as the teacher sees them.

use std::collections::{BTreeMap, BTreeSet};

use hssl_plugin_api::component::{
    Capability, Edge, EncodeRequest, EncodedBranches, End, Level, Loss, Objective, ObjectiveSetup,
    ProjectedLogits, Reduction, Role, StepContext, Views, check_patches, reduce_edges,
};
use hssl_plugin_api::self_distillation::{
    Centre, CropLogits, Diagnostics, Projections, branches_of, cross_view_loss,
};
use hssl_plugin_api::serde_json::Value;
use hssl_plugin_api::{Result, Tensor};

use crate::config::Config;
use crate::edges::{BASE, with_patch_edges};
use crate::masks::{Batch, Draws, HiddenPatches, Masking, Masks};
use crate::patches::{Patches, class_attention, grid, hidden_patch_loss};
use crate::recipe::recipe;

/// Projections of both networks, and the centres of the teacher's that are targets.
pub struct MaskedDistillation<M> {
    config: Config<M>,
    edges: Vec<Edge>,
    reduction: Reduction,
    student: Projections,
    teacher: Projections,
    image_centres: BTreeMap<End, Centre>,
    patch_centres: BTreeMap<End, Centre>,
}

/// Targets or predictions, by projection.
struct AtLevels<T> {
    /// Of all crops.
    images: BTreeMap<End, T>,
    /// Of the hidden patches, (n, K).
    patches: BTreeMap<End, Tensor>,
}

/// The global crops of a step, and what of them is hidden.
struct GlobalCrops<'a> {
    /// (G * B, 3, H, W).
    images: Tensor,
    crops: usize,
    grid: [usize; 2],
    masks: &'a Masks,
    hidden: &'a HiddenPatches,
}

impl<M: Masking> Objective for MaskedDistillation<M> {
    type Config = Config<M>;

    fn recipe() -> Value {
        recipe()
    }

    fn needs() -> Vec<Capability> {
        M::NEEDS.to_vec()
    }

    fn new(config: Config<M>, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        config.check()?;
        let edges = with_patch_edges(M::OBJECTIVE, &setup.edges, config.patch_edges)?;
        let fix = "set patch_edges = \"base\", or remove the edge";
        check_patches(M::OBJECTIVE, &edges, &setup.branches, fix)?;
        let setup = ObjectiveSetup { edges, ..setup.clone() };
        let centres = |name: &str, level: Level, outputs: usize| -> Result<_> {
            let (momentum, state) = (config.center_momentum, &setup.state);
            let centre = |end: End| -> Result<_> {
                let centre = Centre::new(name, &end, outputs, momentum, state)?;
                Ok((end, centre))
            };
            ends(&setup.edges, level, Edge::teacher_end).into_iter().map(centre).collect()
        };
        let projections =
            |role, params| Projections::new(&config.projections(role), &setup, params);
        Ok(Self {
            student: projections(Role::Student, &setup.student)?,
            teacher: projections(Role::Teacher, &setup.teacher)?,
            image_centres: centres("center", Level::Image, config.out_dim)?,
            patch_centres: centres("patch_center", Level::Patch, config.patch_outputs())?,
            reduction: setup.reduction,
            edges: setup.edges,
            config,
        })
    }

    fn step(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Loss> {
        let crops = views.global.dim(0)?;
        let images = views.global.flatten(0, 1)?;
        let taught = self.encode_by_teacher(cx, &images)?;
        let masks = self.masks(cx, views, &taught)?;
        let hidden = masks.hidden_patches(cx.context())?;
        let grid = grid(taught.get(BASE)?)?;
        let global = GlobalCrops { images, crops, grid, masks: &masks, hidden: &hidden };
        let targets = self.targets(cx, &taught, &global)?;
        let predictions = self.predictions(cx, views, &global)?;

        let temperature = self.config.student_temp;
        let (mut parts, mut terms) = (BTreeMap::new(), Vec::new());
        for edge in &self.edges {
            let (teacher, student) = (edge.teacher_end(), edge.student_end());
            let name = format!("{}->{}", edge.teacher, edge.student);
            let (name, term, weight) = match edge.level {
                Level::Image => {
                    let (target, logits) =
                        (&targets.images[&teacher], &predictions.images[&student]);
                    (name, cross_view_loss(target, logits, temperature)?, self.config.lambda1)
                }
                Level::Patch => {
                    let (target, logits) =
                        (&targets.patches[&teacher], &predictions.patches[&student]);
                    let term = hidden_patch_loss(target, logits, &hidden, temperature)?;
                    (format!("patch.{name}"), term, self.config.lambda2)
                }
            };
            terms.push((edge, term.scale(weight)?));
            parts.insert(name, term);
        }
        let total = reduce_edges(&terms, self.reduction)?;
        let mut metrics = BTreeMap::new();
        if cx.info.log {
            metrics = self.diagnostics(cx, &masks, &targets, &predictions)?;
        }
        Ok(Loss { total, parts, metrics })
    }

    fn after_step(&mut self, cx: &StepContext<'_>) -> Result<()> {
        let mut centres = self.image_centres.values_mut().chain(self.patch_centres.values_mut());
        centres.try_for_each(|centre| centre.update(cx.context()))
    }

    /// Of whole images, at the image level; by the temperature of the teacher after its warm-up, or the
    /// student's.
    fn logits(
        &mut self,
        cx: &StepContext<'_>,
        role: Role,
        images: &Tensor,
    ) -> Result<Vec<ProjectedLogits>> {
        let (network, projections, temperature, centres) = match role {
            Role::Teacher => {
                let centres = self.image_centres.iter().collect();
                (cx.teacher(), &self.teacher, self.config.teacher_temp, centres)
            }
            Role::Student => {
                (cx.student(), &self.student, self.config.student_temp, BTreeMap::new())
            }
        };
        let mut of_edges = ends(&self.edges, Level::Image, Edge::teacher_end);
        of_edges.extend(ends(&self.edges, Level::Image, Edge::student_end));
        let encoded = network.encode(images, &branches_of(&of_edges), None)?;
        projections.project_images(&of_edges, &encoded, temperature, &centres)
    }
}

/// One end of all edges of a level.
fn ends(edges: &[Edge], level: Level, end: fn(&Edge) -> End) -> BTreeSet<End> {
    edges.iter().filter(|edge| edge.level == level).map(end).collect()
}

/// With the level at which they are compared.
fn at<'e>(
    level: Level,
    ends: impl IntoIterator<Item = &'e End>,
) -> impl Iterator<Item = (Level, &'e End)> {
    ends.into_iter().map(move |end| (level, end))
}

impl<M: Masking> MaskedDistillation<M> {
    /// Whole crops. The base is among the branches in any case: its patches are those that are hidden.
    fn encode_by_teacher(&self, cx: &StepContext<'_>, images: &Tensor) -> Result<EncodedBranches> {
        let mut branches = branches_of(self.image_centres.keys().chain(self.patch_centres.keys()));
        if !branches.contains(&BASE) {
            branches.push(BASE);
        }
        let request = EncodeRequest {
            role: Role::Teacher,
            branches: branches.into_iter().map(str::to_owned).collect(),
            attention: M::NEEDS.contains(&Capability::Attention),
        };
        cx.teacher().encode_with(images, &request, None)
    }

    /// Those that were given, or else new ones.
    fn masks(
        &self,
        cx: &StepContext<'_>,
        views: &Views,
        taught: &EncodedBranches,
    ) -> Result<Masks> {
        let (crops, batch) = (views.global.dim(0)?, views.global.dim(1)?);
        let (base, images) = (taught.get(BASE)?, crops * batch);
        let grid = grid(base)?;
        let patches = grid[0] * grid[1];
        let draw = || {
            if cx.info.epoch < self.config.pred_start_epoch {
                return Ok(Masks::none(images, patches));
            }
            let attention = match M::NEEDS.contains(&Capability::Attention) {
                true => class_attention(base, patches)?,
                false => Vec::new(),
            };
            let batch = Batch { images, grid, attention };
            self.config.masking.draw(&mut Draws::of_host(cx.context()), &batch)
        };
        let mut own = None;
        let shape = [crops, batch, patches];
        let mask = cx.drawn("mask", || {
            let masks = own.insert(draw()?);
            masks.tensor(cx.context())?.reshape(shape)
        })?;
        own.map_or_else(|| Masks::given(&mask, shape), Ok)
    }

    /// The teacher's assignments of global crops (G, B, K) and of hidden patches (n, K).
    fn targets(
        &mut self,
        cx: &StepContext<'_>,
        taught: &EncodedBranches,
        global: &GlobalCrops<'_>,
    ) -> Result<AtLevels<Tensor>> {
        let teacher = &self.teacher;
        let images = at(Level::Image, self.image_centres.keys());
        let prototypes =
            teacher.prototypes(images.chain(at(Level::Patch, self.patch_centres.keys())))?;
        let mut targets = AtLevels { images: BTreeMap::new(), patches: BTreeMap::new() };
        let temperature = self.config.image_temperature().at(cx.info.epoch);
        for (end, centre) in &mut self.image_centres {
            let image = &taught.get(&end.branch)?.image;
            let logits = teacher.forward(Level::Image, end, image, &prototypes)?.detach()?;
            let target = centre.centred(&logits, temperature)?.softmax(-1)?;
            centre.observe(&logits)?;
            let (n, outputs) = logits.dims2()?;
            let by_crop = target.reshape((global.crops, n / global.crops.max(1), outputs))?;
            targets.images.insert(end.clone(), by_crop);
        }
        let temperature = self.config.patch_temperature().at(cx.info.epoch);
        let patches = Patches {
            projections: teacher,
            prototypes: &prototypes,
            encoded: taught,
            grid: global.grid,
            hidden: global.hidden,
        };
        for (end, centre) in &mut self.patch_centres {
            targets.patches.insert(end.clone(), patches.targets(end, centre, temperature)?);
        }
        Ok(targets)
    }

    /// The student's logits of all crops and of the hidden patches. It sees the global crops masked, at
    /// the image level too, and the local ones whole.
    fn predictions(
        &self,
        cx: &StepContext<'_>,
        views: &Views,
        global: &GlobalCrops<'_>,
    ) -> Result<AtLevels<CropLogits>> {
        let image_ends = ends(&self.edges, Level::Image, Edge::student_end);
        let patch_ends = ends(&self.edges, Level::Patch, Edge::student_end);
        let compared = at(Level::Image, &image_ends).chain(at(Level::Patch, &patch_ends));
        let prototypes = self.student.prototypes(compared)?;
        let mask = global.masks.tensor(cx.context())?;
        let branches = branches_of(image_ends.iter().chain(&patch_ends));
        let seen = cx.student().encode(&global.images, &branches, Some(&mask))?;
        let local = views.local.as_ref().filter(|_| !image_ends.is_empty());
        let encode = |crops: &Tensor| -> Result<_> {
            let branches = branches_of(&image_ends);
            let encoded = cx.student().encode(&crops.flatten(0, 1)?, &branches, None)?;
            Ok((encoded, crops.dim(0)?))
        };
        let local = local.map(encode).transpose()?;
        let local = local.as_ref().map(|(encoded, crops)| (encoded, *crops));
        let by_crop = (&seen, global.crops);
        let images = CropLogits::of(&self.student, &prototypes, &image_ends, by_crop, local)?;
        let patches = Patches {
            projections: &self.student,
            prototypes: &prototypes,
            encoded: &seen,
            grid: global.grid,
            hidden: global.hidden,
        };
        let logits = |end: End| patches.predictions(&end).map(|logits| (end, logits));
        let patches = patch_ends.into_iter().map(logits).collect::<Result<_>>()?;
        Ok(AtLevels { images, patches })
    }

    fn diagnostics(
        &self,
        cx: &StepContext<'_>,
        masks: &Masks,
        targets: &AtLevels<Tensor>,
        predictions: &AtLevels<CropLogits>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut diagnostics = Diagnostics::default();
        diagnostics.number(cx, "mask_ratio", masks.ratio())?;
        diagnostics.number(cx, "mask_empty", masks.empty())?;
        let (image, patch) = (self.config.image_temperature(), self.config.patch_temperature());
        diagnostics.number(cx, "teacher_temp", image.at(cx.info.epoch))?;
        diagnostics.number(cx, "patch_teacher_temp", patch.at(cx.info.epoch))?;
        let levels = [
            ("", &targets.images, &self.image_centres),
            ("patch_", &targets.patches, &self.patch_centres),
        ];
        for (level, targets, centres) in levels {
            for (end, target) in targets {
                diagnostics.targets(level, end, target)?;
            }
            for (end, centre) in centres {
                diagnostics.centre(level, end, centre)?;
            }
        }
        for edge in self.edges.iter().filter(|edge| edge.level == Level::Image) {
            let (target, logits) =
                (&targets.images[&edge.teacher_end()], &predictions.images[&edge.student_end()]);
            diagnostics.agreement(edge, target, logits)?;
        }
        Ok(diagnostics.finish())
    }
}
