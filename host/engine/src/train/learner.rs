//! Student, teacher and objective: what one training step is made of (spec 1.18).

use std::collections::BTreeMap;

use hssl_plugin_api::abi::method;
use hssl_plugin_api::component::{
    Capability, Edge, End, Features, Kind, ProjectedLogits, Request, Role, StepInfo,
};
use hssl_plugin_api::wire::Envelope;
use hssl_tensor::optim::{Averages, Clip, Optimizer, Step};
use hssl_tensor::{Array, Device, Gradients, Tensor, backward, mode, random};

use crate::config::{Precision, RunConfig, Supervision};
use crate::error::{Error, Result};
use crate::network::{Builder, Network};
use crate::parameters::Stores;
use crate::plugin::{Instance, Registry, Services, export, import, instantiate, on_device};
use crate::supervision::{self, BASE};
use crate::train::groups::{self, DECAYING};
use crate::train::services::{Drawn, ObjectiveServices};

/// The augmented views of a batch as tensors; see [`hssl_plugin_api::component::Views`].
#[derive(Clone, Debug)]
pub struct BatchViews {
    /// (G, B, 3, H, W).
    pub global: Array,
    /// (L, B, 3, h, w).
    pub local: Option<Array>,
    /// What the objective is to choose instead of drawing it, by name.
    pub drawn: BTreeMap<String, Array>,
}

/// The scheduled values of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay of the decaying group.
    pub weight_decay: f64,
    /// Momentum of the teacher.
    pub momentum_teacher: f64,
}

/// What a forward pass found, still on the device.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scalar that is minimised.
    pub total: Tensor,
    /// Its terms.
    pub parts: BTreeMap<String, Tensor>,
    /// Diagnostics.
    pub metrics: BTreeMap<String, Tensor>,
    /// What the objective chose at random, by name.
    pub drawn: BTreeMap<String, Array>,
}

/// Everything that learns.
pub struct Learner {
    /// Trained.
    pub student: Network,
    /// The student's moving average.
    pub teacher: Network,
    /// All parameters.
    pub stores: Stores,
    /// The supervision graph.
    pub edges: Vec<Edge>,
    /// Moves the student.
    pub optimizer: Box<dyn Optimizer>,
    objective: Instance,
    device: Device,
    autocast: bool,
    checkpoint_blocks: bool,
    seed: u64,
    clip_grad: f64,
    freeze_last_layer: usize,
    /// The random choices of the current step.
    drawn: Drawn,
}

impl Learner {
    /// Builds both networks and the objective; the teacher starts as an exact copy of the student.
    pub fn build(config: &RunConfig, registry: &Registry, device: &Device) -> Result<Self> {
        on_device(device, || Self::build_on(config, registry, device))
    }

    fn build_on(config: &RunConfig, registry: &Registry, device: &Device) -> Result<Self> {
        let seed = config.train.seed;
        let mut stores = Stores::default();
        let no_heads = BTreeMap::new();
        let plain = config.hssl.supervision == Supervision::None;
        let heads = if plain { &no_heads } else { &config.heads };
        let edges = supervision::resolve(&config.hssl, heads)?;
        let objective = registry.component(Kind::Objective, &config.objective.plugin)?;
        let needs = &objective.manifest.capabilities;
        let asks = format!("objective {:?}", config.objective.plugin);
        check_capabilities(config, registry, &asks, needs)?;
        if let Some(layer) = supervision::layers(&edges).values().next() {
            let asks = format!("an edge with {layer:?}");
            check_capabilities(config, registry, &asks, &[Capability::Layers])?;
        }
        let mask_token = needs.contains(&Capability::MaskReplace);
        let crop = config.views.global_crops_size;
        for head in heads.keys().filter(|head| !supervision::trains_head(&edges, head)) {
            tracing::warn!(
                "no edge of the supervision graph trains the head {head:?}: it stays as it was \
                 drawn, a random target; to train it, add an edge with student = {head:?} to \
                 hssl.edges"
            );
        }
        let mut network = |role| {
            let mut builder = Builder::new(registry, &mut stores, role, seed, device);
            let mask_token = mask_token && role == Role::Student;
            Network::build(&mut builder, &config.backbone, heads, &edges, mask_token, crop)
        };
        let (mut student, mut teacher) = (network(Role::Student)?, network(Role::Teacher)?);

        let train = &config.train;
        student.set_drop_path(train.drop_path, train.drop_path_counts_head)?;
        teacher.set_drop_path(0.0, train.drop_path_counts_head)?;

        let request = Envelope::new(&serde_json::json!({
            "config": config.objective.options,
            "base": student.spec(),
            "branches": student.branches(),
            "edges": edges,
            "reduction": config.hssl.branch_reduction,
            "share_mlp": config.hssl.share_mlp,
            "share_last_layer": config.hssl.share_last_layer,
        }))?;
        let mut services = ObjectiveServices {
            student: &mut student,
            teacher: &mut teacher,
            stores: &mut stores,
            device,
            seed,
            training: true,
            drawn: &mut Drawn::default(),
        };
        let name = &config.objective.plugin;
        let objective = instantiate(registry, Kind::Objective, name, &request, &mut services)?;
        stores.copy_student_to_teacher()?;
        let optimizer = groups::optimizer(train, &stores.student)?;
        Ok(Self {
            student,
            teacher,
            edges,
            optimizer,
            objective,
            device: device.clone(),
            autocast: train.precision == Precision::Bf16,
            checkpoint_blocks: train.checkpoint_blocks,
            seed,
            clip_grad: train.clip_grad,
            freeze_last_layer: train.freeze_last_layer,
            drawn: Drawn::default(),
            stores,
        })
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Teacher pass, student pass and loss of one batch. `slice` tells the batches of one
    /// accumulation window apart: each draws its own random numbers.
    pub fn forward(
        &mut self,
        views: &BatchViews,
        info: &StepInfo,
        slice: usize,
    ) -> Result<Outcome> {
        let tensor = |array: &Array| export(&Tensor::constant(array.clone()));
        let request = Envelope::new(info)?
            .with("global", &tensor(&views.global))
            .with_some("local", views.local.as_ref().map(tensor).as_ref());
        self.drawn = Drawn::given(&views.drawn);
        let call = (method::component::STEP, "step");
        let reply = self.in_training(info.step, slice, |objective, services| {
            Ok(objective.call(call, &request, services)?)
        })?;
        let total = import(&reply.tensor("total")?);
        let (mut parts, mut metrics) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in reply.into_tensors() {
            if let Some(name) = name.strip_prefix("part.") {
                parts.insert(name.to_owned(), import(&tensor));
            } else if let Some(name) = name.strip_prefix("metric.") {
                metrics.insert(name.to_owned(), import(&tensor));
            }
        }
        let drawn = std::mem::take(&mut self.drawn).made;
        Ok(Outcome { total, parts, metrics, drawn })
    }

    /// Gradients of the loss of one of `accumulate` batches.
    pub fn backward(&self, outcome: &Outcome, accumulate: usize) -> Result<Gradients> {
        let share = hssl_tensor::ops::affine(&outcome.total, 1.0 / accumulate as f64, 0.0)?;
        Ok(backward(&share)?)
    }

    /// Clip, freeze, step, move the teacher, update the objective's buffers. Returns the norm of each
    /// gradient before clipping, in the student's order.
    ///
    /// # Errors
    /// A gradient is not finite, and nothing has moved; or a computation fails.
    pub fn update(
        &mut self,
        mut gradients: Gradients,
        rates: Rates,
        info: &StepInfo,
    ) -> Result<Vec<(String, f64)>> {
        let trainable: Vec<_> =
            self.stores.student.iter().filter(|p| p.is_trainable()).cloned().collect();
        let clip = Clip::per_tensor(&gradients, &trainable, self.clip_grad)?;
        let norms = clip.norms.clone();
        for (parameter, norm) in trainable.iter().zip(&norms) {
            if let Some(norm) = norm.filter(|norm| !norm.is_finite()) {
                return Err(Error::Training(format!(
                    "the gradient of {} has the norm {norm} at step {}; the weights were not \
                     changed by it: resume from the last checkpoint, or start again, with a lower \
                     train.lr or a longer train.warmup_epochs",
                    parameter.name(),
                    info.step
                )));
            }
        }
        if info.epoch < self.freeze_last_layer {
            for parameter in trainable.iter().filter(|p| groups::is_last_layer(p.name())) {
                gradients.remove(parameter);
            }
        }
        for (index, group) in self.optimizer.groups_mut().iter_mut().enumerate() {
            group.lr = rates.lr;
            group.weight_decay = if index == DECAYING { rates.weight_decay } else { 0.0 };
        }
        let mut averages = Averages { momentum: rates.momentum_teacher, pairs: Vec::new() };
        for teacher in self.stores.teacher.iter() {
            let Some(student) = self.stores.student.get(teacher.name()) else { continue };
            if !is_running_statistic(teacher.name()) {
                averages.pairs.push((teacher.clone(), student.clone()));
            } else if !self.teacher.has_run(teacher.name()) {
                // What runs in the teacher has running statistics of its own. What never does, as all of
                // it where the student makes the targets, would be left with those it was made with.
                teacher.set(&student.value())?;
            }
        }
        self.optimizer.update(&Step { gradients: &gradients, clip, averages })?;
        self.teacher.forget_runs();
        let call = (method::component::AFTER_STEP, "after_step");
        let request = Envelope::new(info)?;
        self.in_training(info.step, 0, |objective, services| {
            mode::no_grad(|| Ok(objective.call(call, &request, services)?))
        })?;
        let norms = norms.into_iter().map(|norm| norm.unwrap_or(0.0));
        Ok(trainable.iter().map(|p| p.name().to_owned()).zip(norms).collect())
    }

    /// Runs the objective in training mode, with the step's own random numbers.
    fn in_training<T>(
        &mut self,
        step: usize,
        slice: usize,
        body: impl FnOnce(&mut Instance, &mut dyn Services) -> Result<T>,
    ) -> Result<T> {
        // 2^20 slices a step are more than any accumulation window holds.
        let stream = ((step as u64) << 20) | slice as u64;
        self.run(self.training(), stream, body)
    }

    fn run<T>(
        &mut self,
        mode: mode::Mode,
        stream: u64,
        body: impl FnOnce(&mut Instance, &mut dyn Services) -> Result<T>,
    ) -> Result<T> {
        let mut services = ObjectiveServices {
            student: &mut self.student,
            teacher: &mut self.teacher,
            stores: &mut self.stores,
            device: &self.device,
            seed: self.seed,
            training: mode.training,
            drawn: &mut self.drawn,
        };
        let objective = &mut self.objective;
        on_device(&self.device, || {
            mode::scope(mode, || {
                random::scope(self.seed, stream, || body(objective, &mut services))
            })
        })
    }

    fn training(&self) -> mode::Mode {
        mode::Mode {
            recording: true,
            training: true,
            autocast: self.autocast,
            checkpoint_blocks: self.checkpoint_blocks,
            ..mode::current()
        }
    }

    fn inference(&self) -> mode::Mode {
        mode::Mode { recording: false, training: false, autocast: self.autocast, ..mode::current() }
    }

    /// What the projections of a network make of images (B, 3, H, W), without training; nothing for a
    /// method that gives images no probabilities.
    pub fn logits(
        &mut self,
        role: Role,
        images: &Tensor,
        info: &StepInfo,
    ) -> Result<Vec<ProjectedLogits>> {
        let request = Envelope::new(&serde_json::json!({ "role": role, "info": info }))?
            .with("images", &export(images));
        let call = (method::component::LOGITS, "logits");
        let reply = self.run(self.inference(), 0, |objective, services| {
            Ok(objective.call(call, &request, services)?)
        })?;
        let ends: Vec<End> = reply.read()?;
        let projected = |(index, end)| -> Result<ProjectedLogits> {
            let tensor = |what: &str| reply.tensor(&format!("{what}.{index}"));
            Ok(ProjectedLogits { end, plain: tensor("plain")?, centred: tensor("centred")? })
        };
        ends.into_iter().enumerate().map(projected).collect()
    }

    /// Runs the student alone, recorded as in training.
    pub fn with_student<T>(&mut self, body: impl FnOnce(&mut Network) -> Result<T>) -> Result<T> {
        let (mode, student) = (self.training(), &mut self.student);
        on_device(&self.device, || {
            mode::scope(mode, || random::scope(self.seed, 0, || body(student)))
        })
    }

    /// The teacher's features of images (B, 3, H, W) by branch, without training.
    pub fn teacher_features(
        &mut self,
        images: &Tensor,
        branches: &[String],
    ) -> Result<BTreeMap<String, Features>> {
        let (mode, teacher) = (self.inference(), &mut self.teacher);
        on_device(&self.device, || {
            mode::scope(mode, || teacher.encode(images, branches, &Request::default(), None))
        })
    }

    /// Checks the first gradients: every trainable parameter must have received a finite one.
    ///
    /// A base that nothing supervises directly (`a2a`) is the exception: its last norm is outside the
    /// graph by design, so what misses a gradient there is returned instead.
    pub fn check_gradients(&self, gradients: &Gradients) -> Result<Vec<String>> {
        let supervised = supervision::trains(&self.edges, BASE);
        let (mut missing, mut excused, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in self.stores.student.iter().filter(|p| p.is_trainable()) {
            let name = parameter.name().to_owned();
            match gradients.get(parameter) {
                None if !supervised && name.starts_with("backbone.") => excused.push(name),
                None => missing.push(name),
                Some(gradient) if !is_finite(gradient)? => broken.push(name),
                Some(_) => {}
            }
        }
        let list = |names: &[String]| names.join(", ");
        if !missing.is_empty() {
            return Err(Error::Training(format!(
                "no gradient reached these trainable parameters in the first step: {}; the component \
                 that made them does not use them in its forward pass, or cut the history (detach)",
                list(&missing)
            )));
        }
        if !broken.is_empty() {
            return Err(Error::Training(format!(
                "the first gradients of these parameters are not finite: {}; lower train.lr or check \
                 the objective's temperatures",
                list(&broken)
            )));
        }
        Ok(excused)
    }
}

/// Matches what the objective, or whatever asks, needs with what the backbone can do.
fn check_capabilities(
    config: &RunConfig,
    registry: &Registry,
    asks: &str,
    needs: &[Capability],
) -> Result<()> {
    let backbone = &config.backbone.plugin;
    let component = registry.component(Kind::Backbone, backbone)?;
    let can = &component.manifest.capabilities;
    let Some(lacking) = needs.iter().find(|need| !can.contains(need)) else { return Ok(()) };
    let others: Vec<String> = registry
        .offers()
        .filter(|offer| offer.kind == Kind::Backbone.word())
        .filter_map(|offer| registry.component(Kind::Backbone, offer.name).ok())
        .filter(|other| needs.iter().all(|need| other.manifest.capabilities.contains(need)))
        .map(|other| other.manifest.name.clone())
        .collect();
    let others =
        if others.is_empty() { "none that is installed".into() } else { others.join(", ") };
    Err(Error::Composition(format!(
        "{asks} needs a backbone that can {}; {backbone:?} cannot; these can: {others}",
        lacking.phrase(),
    )))
}

fn is_running_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

fn is_finite(array: &Array) -> Result<bool> {
    // NaN and infinity survive multiplication by 0.
    let zero = hssl_tensor::ops::affine(&Tensor::constant(array.clone()), 0.0, 0.0)?;
    Ok(hssl_tensor::ops::sum(&zero, &[], false)?.scalar()? == 0.0)
}
