//! Masked autoencoders: the student sees a few patches of an image and reconstructs the others.
//!
//! MAE and MFF differ in the [`Latent`] that pixels are decoded from; branches, edges and losses are handled
//! here. Every branch that an edge of the supervision graph supervises reconstructs pixels, the base by a
//! decoder, a head by a dense layer. An edge from the base to itself is the plain method and asks for no
//! more. Along every other edge the student's branch also predicts the features of the dropped patches that
//! the teacher's branch makes, which sees all patches: the mean of |prediction - norm(features)|^2 / C. The
//! loss is the edges' mean of the pixel terms plus a weight times the edges' mean of the feature terms. The
//! papers have the plain method; with heads the form is derived from the principle that the teacher's head
//! supervises base and head.
//!
//! A head takes maps: it gets the base's tokens at their places, and a learned vector at those of the dropped
//! ones.

mod decoder;
mod dropping;
mod options;
mod pixels;
mod predictors;
mod recipe;

use std::collections::{BTreeMap, BTreeSet};

use crate::component::{
    BackboneSpec, Edge, EncodedBranches, Level, Loss, ObjectiveSetup, Reduction, StepContext,
    Tokens, Views, check_patches, reduce_edges,
};
use crate::nn::Linear;
use crate::{DType, LogLevel, Result, Tensor};
use decoder::{Decoder, token};
use predictors::{FeaturePredictor, needs_features};

pub use dropping::Dropping;
pub use options::Options;
pub use recipe::recipe;

/// The base's branch.
const BASE: &str = "base";
/// Epsilon of the norm of the teacher's features.
const TARGET_EPS: f64 = 1e-6;

/// What the base's tokens are made into before pixels are decoded from it.
pub trait Latent {
    /// Blocks of the base, counted from 0, whose outputs it needs.
    fn layers(&self) -> &[usize];

    /// The latent (B, P + K, C) of tokens, after the base's final norm.
    fn latent(&self, cx: &StepContext<'_>, tokens: &Tokens) -> Result<Tensor>;

    /// The tokens (B, P + K, C) that heads take, before any norm.
    fn head_input(&self, tokens: &Tokens) -> Result<Tensor> {
        Ok(tokens.pre_norm.clone())
    }
}

/// Whether the base reconstructs pixels along these edges: only then is there a latent of it.
pub fn reconstructs_from_base(edges: &[Edge]) -> bool {
    edges.iter().any(|edge| edge.student == BASE)
}

/// Decoder, predictors and the edges that they serve.
#[derive(Debug)]
pub struct MaskedAutoencoder {
    method: &'static str,
    options: Options,
    base: BackboneSpec,
    /// All of level "patch".
    edges: Vec<Edge>,
    reduction: Reduction,
    decoder: Option<Decoder>,
    /// Pixels of heads' tokens, by branch.
    pixels: BTreeMap<String, Linear>,
    /// Of the edges that ask for features, in their order.
    features: Vec<Option<FeaturePredictor>>,
    /// Stands for dropped patches in the map that heads take, if there is a head.
    map_token: Option<Tensor>,
    warned: bool,
}

/// The images of a step and what is dropped of them.
struct Batch {
    /// (G * B, 3, H, W).
    images: Tensor,
    grid: [usize; 2],
    dropping: Dropping,
}

impl Batch {
    /// The mean square of prediction less target (G * B, N, C), over channels and dropped patches.
    fn error(&self, cx: &StepContext<'_>, prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
        let errors = prediction.cast(DType::F32)?.sub(target)?.square()?.mean(&[-1], false)?;
        self.dropping.mean_of_dropped(cx.context(), &errors)
    }
}

/// Tensors by branch: what it knows of all patches, (G * B, N, C).
type ByBranch = BTreeMap<String, Tensor>;

fn of<'t>(tensors: &'t ByBranch, branch: &str) -> Result<&'t Tensor> {
    match tensors.get(branch) {
        Some(tensor) => Ok(tensor),
        None => refuse!("{branch} was not encoded: its head cannot take global crops of this size"),
    }
}

impl MaskedAutoencoder {
    /// Builds decoder and predictors of the student; the teacher needs none.
    pub fn new(method: &'static str, options: Options, setup: &ObjectiveSetup<'_>) -> Result<Self> {
        options.check(method)?;
        if setup.share_mlp {
            refuse!(
                "{method}: hssl.share_mlp = true, but base and heads have no projection MLP that they could \
                 share; set it to false"
            );
        }
        let patches = |edge: &Edge| Edge { level: Level::Patch, ..edge.clone() };
        let edges: Vec<Edge> = setup.edges.iter().map(patches).collect();
        check_patches(
            method,
            &edges,
            &setup.branches,
            "with hssl.supervision = \"edges\", hssl.edges can do without it",
        )?;
        let heads = student_heads(&edges);
        let mut beside = setup.branches.iter().filter(|branch| branch.beside);
        if let Some(branch) = beside.find(|branch| heads.contains(&branch.name.as_str())) {
            let head = &branch.name;
            refuse!(
                "{method}: the head {head:?} is a network beside the base, which sees the patches that the \
                 student must not see; give it connection = \"serial\", or make it a teacher only \
                 (hssl.supervision = \"edges\", hssl.edges = [{{ teacher = {head:?}, student = \"base\" }}])"
            );
        }
        if !heads.is_empty() && !options.head_pixels && options.feature_weight == 0.0 {
            refuse!(
                "{method}: head_pixels is false and feature_weight 0, so nothing would train the heads; \
                 change one of them, or set hssl.supervision = \"none\""
            );
        }
        let (student, patch) = (&setup.student, stride(&setup.base));
        let values = 3 * patch * patch;
        let decoder = || Decoder::new(&options, setup.base.width, values, &student.pp("decoder"));
        let decoder = reconstructs_from_base(&edges).then(decoder).transpose()?;
        let mut pixels = BTreeMap::new();
        for head in heads.iter().filter(|_| options.head_pixels) {
            let scope = student.pp("pixels").pp(head);
            let layer = decoder::linear(setup.width(head)?, values, &scope)?;
            pixels.insert((*head).to_owned(), layer);
        }
        let predictor = |edge: &Edge| -> Result<Option<FeaturePredictor>> {
            if options.feature_weight == 0.0 || !needs_features(edge) {
                return Ok(None);
            }
            let scope = student.pp("features").pp(&edge.teacher).pp(&edge.student);
            let outputs = setup.width(&edge.teacher)?;
            let predictor = match edge.student.as_str() {
                BASE => FeaturePredictor::of_decoder(options.decoder_embed_dim, outputs, &scope),
                head => FeaturePredictor::of_head(setup.width(head)?, outputs, &scope),
            };
            predictor.map(Some)
        };
        let features = edges.iter().map(predictor).collect::<Result<_>>()?;
        let map_token = || token("map_token", setup.base.width, student);
        Ok(Self {
            method,
            base: setup.base.clone(),
            reduction: setup.reduction,
            map_token: (!heads.is_empty()).then(map_token).transpose()?,
            options,
            edges,
            decoder,
            pixels,
            features,
            warned: false,
        })
    }

    /// The loss of a batch.
    pub fn step(
        &mut self,
        cx: &StepContext<'_>,
        views: &Views,
        latent: &impl Latent,
    ) -> Result<Loss> {
        let batch = self.batch(cx, views)?;
        let known = self.student(cx, &batch, latent)?;
        let targets = self.teacher(cx, &batch)?;
        let (mut parts, mut metrics) = (BTreeMap::new(), BTreeMap::new());
        let pixels = self.pixel_loss(cx, &batch, &known, &mut parts)?;
        let features = self.feature_loss(cx, &batch, &known, &targets, &mut parts)?;
        let total = match (pixels, features) {
            (Some(pixels), Some(features)) => pixels.add(&features)?,
            (Some(total), None) | (None, Some(total)) => total,
            (None, None) => refuse!("{}: no edge of the supervision graph has a loss", self.method),
        };
        if cx.info.log {
            for (branch, target) in &targets {
                metrics.insert(format!("target_std.{branch}"), spread(target)?);
            }
        }
        Ok(Loss { total, parts, metrics })
    }

    /// The pixel terms of all branches that have one, along their edges.
    fn pixel_loss(
        &self,
        cx: &StepContext<'_>,
        batch: &Batch,
        known: &ByBranch,
        parts: &mut ByBranch,
    ) -> Result<Option<Tensor>> {
        let mut target = pixels::patches(&batch.images, stride(&self.base))?;
        if self.options.norm_pix_loss {
            target = pixels::normed(&target)?;
        }
        for (branch, known) in known {
            if let Some(prediction) = self.predict_pixels(branch, known)? {
                parts.insert(format!("pixels.{branch}"), batch.error(cx, &prediction, &target)?);
            }
        }
        let term = |edge: &Edge| parts.get(&format!("pixels.{}", edge.student)).cloned();
        let terms: Vec<(&Edge, Tensor)> =
            self.edges.iter().filter_map(|edge| Some((edge, term(edge)?))).collect();
        (!terms.is_empty()).then(|| reduce_edges(&terms, self.reduction)).transpose()
    }

    /// The terms of the edges that ask for features, with their weight.
    fn feature_loss(
        &self,
        cx: &StepContext<'_>,
        batch: &Batch,
        known: &ByBranch,
        targets: &ByBranch,
        parts: &mut ByBranch,
    ) -> Result<Option<Tensor>> {
        let mut terms = Vec::new();
        for (edge, predictor) in self.edges.iter().zip(&self.features) {
            let Some(predictor) = predictor else { continue };
            let prediction = predictor.forward(of(known, &edge.student)?)?;
            let term = batch.error(cx, &prediction, of(targets, &edge.teacher)?)?;
            parts.insert(format!("{}->{}", edge.teacher, edge.student), term.clone());
            terms.push((edge, term));
        }
        if terms.is_empty() {
            return Ok(None);
        }
        reduce_edges(&terms, self.reduction)?.scale(self.options.feature_weight).map(Some)
    }

    /// The global crops, and which patches of them are dropped.
    fn batch(&mut self, cx: &StepContext<'_>, views: &Views) -> Result<Batch> {
        if views.local.is_some() && !self.warned {
            self.warned = true;
            let message = format!(
                "{} reconstructs global crops alone; views.local_crops_number = 0 saves making the others",
                self.method
            );
            cx.context().log(LogLevel::Warn, message);
        }
        let (crops, count) = (views.global.dim(0)?, views.global.dim(1)?);
        let images = views.global.flatten(0, 1)?;
        let (_, _, height, width) = images.dims4()?;
        let patch = stride(&self.base);
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            refuse!(
                "{}: global crops of {height} x {width} cannot be cut into patches of {patch} x {patch}; set \
                 views.global_crops_size to a multiple of {patch}",
                self.method
            );
        }
        let grid = [height / patch, width / patch];
        let patches = grid[0] * grid[1];
        let keep = self.options.keep(self.method, patches)?;
        let mut own = None;
        let kept = cx.drawn("kept", || {
            let noise = cx.context().uniform(crops * count * patches, 0.0, 1.0)?.to_vec()?;
            let dropping = own.insert(Dropping::by_noise(&noise, patches, keep));
            dropping.tensor(cx.context())?.reshape((crops, count, keep))
        })?;
        let given = || Dropping::given(&kept, [crops, count, patches]);
        Ok(Batch { dropping: own.map_or_else(given, Ok)?, images, grid })
    }

    /// What the student's branches know after they have seen the kept patches.
    fn student(
        &mut self,
        cx: &StepContext<'_>,
        batch: &Batch,
        latent: &impl Latent,
    ) -> Result<ByBranch> {
        let (host, dropping) = (cx.context(), &batch.dropping);
        let kept = dropping.tensor(host)?;
        let tokens = cx.student().encode_kept(&batch.images, &kept, latent.layers())?;
        let mut known = ByBranch::new();
        if let Some(decoder) = &mut self.decoder {
            let latent = latent.latent(cx, &tokens)?;
            known.insert(BASE.into(), decoder.forward(host, &latent, dropping, batch.grid)?);
        }
        if let Some(map_token) = &self.map_token {
            let input = latent.head_input(&tokens)?;
            let (images, count, width) = input.dims3()?;
            // Heads do not see the class token.
            let patches = input.narrow(1, count - dropping.keep(), dropping.keep())?;
            let [rows, columns] = batch.grid;
            let map = dropping.fill(host, &patches, map_token)?;
            let map = map.reshape((images, rows, columns, width))?;
            let encoded = cx.student().encode_map(&map, &student_heads(&self.edges))?;
            for (branch, features) in &encoded.0 {
                known.insert(branch.clone(), features.map.flatten(1, 2)?);
            }
        }
        Ok(known)
    }

    /// What the teacher's branches make of whole images: (G * B, N, C) of mean 0 and deviation 1 in each
    /// token. Nothing if no edge asks for features.
    fn teacher(&self, cx: &StepContext<'_>, batch: &Batch) -> Result<ByBranch> {
        let mut branches: Vec<&str> = Vec::new();
        for (edge, predictor) in self.edges.iter().zip(&self.features) {
            if predictor.is_some() && !branches.contains(&edge.teacher.as_str()) {
                branches.push(&edge.teacher);
            }
        }
        let encoded = match branches.is_empty() {
            true => EncodedBranches::default(),
            false => cx.teacher().encode(&batch.images, &branches, None)?,
        };
        let target = |branch: &&str| -> Result<_> {
            let tokens = encoded.get(branch)?.map.flatten(1, 2)?.detach()?.cast(DType::F32)?;
            Ok(((*branch).to_owned(), tokens.layer_norm(None, None, TARGET_EPS)?))
        };
        branches.iter().map(target).collect()
    }

    fn predict_pixels(&self, branch: &str, known: &Tensor) -> Result<Option<Tensor>> {
        match (&self.decoder, self.pixels.get(branch)) {
            (Some(decoder), _) if branch == BASE => decoder.pixels(known).map(Some),
            (_, Some(layer)) => layer.forward(known).map(Some),
            _ => Ok(None),
        }
    }
}

/// The heads that an edge supervises.
fn student_heads(edges: &[Edge]) -> Vec<&str> {
    let students: BTreeSet<&str> = edges.iter().map(|edge| edge.student.as_str()).collect();
    students.into_iter().filter(|name| *name != BASE).collect()
}

/// Pixels per side of a patch.
fn stride(base: &BackboneSpec) -> usize {
    base.stages.last().map_or(1, |stage| stage.stride.max(1))
}

/// Deviation of the targets (B, N, C) over all patches, channel by channel, in the mean: 1 if patches are
/// told apart, 0 if they all look the same.
fn spread(targets: &Tensor) -> Result<Tensor> {
    targets.flatten(0, 1)?.var(&[0], 1, false)?.sqrt()?.mean_all()
}
