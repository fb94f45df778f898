//! The sections of a run's configuration. Key names follow the DINO lineage where one exists.
//!
//! None of these has `Default`: defaults are a layer of their own (`defaults.toml`), so that
//! `hssl config show` can say where each value comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hssl_datasets::MultiCrop;
use hssl_plugin_api::component::{Edge, Kind, Reduction};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that determines a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The base model.
    pub backbone: ComponentConfig,
    /// Auxiliary heads by name; they hang on the base, or run beside it, and are dropped after training.
    #[serde(default)]
    pub heads: BTreeMap<String, HeadConfig>,
    /// The self-supervised method.
    pub objective: ComponentConfig,
    /// Who supervises whom.
    pub hssl: HsslConfig,
    /// Images and how they are loaded.
    pub data: DataConfig,
    /// Augmented views of each image.
    pub views: MultiCrop,
    /// Optimisation.
    pub train: TrainConfig,
    /// Evaluation during and after training.
    pub eval: EvalConfig,
    /// Run folder; without it, `runs/` and a name made of the components and the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
}

/// A component and its own options, which its plugin's schema checks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ComponentConfig {
    /// Name of the component.
    pub plugin: String,
    /// The component's options.
    #[serde(flatten)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// An auxiliary head: what it runs on, and the component's own options.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeadConfig {
    /// Name of the component: a head, or a backbone where it runs beside the base.
    pub plugin: String,
    /// What it runs on.
    #[serde(default)]
    pub connection: Connection,
    /// The component's options.
    #[serde(flatten)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// What an auxiliary head runs on (Table 19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// The base's last map.
    #[default]
    Serial,
    /// The image: a whole backbone beside the base.
    Parallel,
    /// The same, in training for global crops alone.
    ParallelGlobal,
}

impl Connection {
    /// The kind of component that it connects.
    pub fn kind(self) -> Kind {
        match self {
            Self::Serial => Kind::Head,
            Self::Parallel | Self::ParallelGlobal => Kind::Backbone,
        }
    }
}

/// Named supervision graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Supervision {
    /// base -> base: the plain method; heads are not built.
    None,
    /// heads -> base and heads -> heads (equation 1).
    Hssl,
    /// heads -> heads alone (Table 16).
    A2a,
    /// heads -> heads and base -> base (Table 16).
    A2aB2b,
    /// head -> base and base -> head for every head, each with projections of its own (equations 6
    /// and 7): which head differs most from the base?
    Search,
    /// The edges listed in `hssl.edges`.
    Edges,
}

/// The supervision graph.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HsslConfig {
    /// A preset, or `edges`.
    pub supervision: Supervision,
    /// Explicit edges, teacher branch to student branch (with `supervision = "edges"`).
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// Mean of the branches' terms (released program) or their sum (equation 1).
    pub branch_reduction: Reduction,
    /// One projection MLP for all branches (Table 18).
    pub share_mlp: bool,
    /// One last layer (prototypes) for all branches.
    pub share_last_layer: bool,
}

/// Images and how they are loaded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// What is trained on: a data SPEC (`hssl data list` names the known sets).
    pub train: String,
    /// What classifiers of evaluations learn from; without it, `train`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_train: Option<String>,
    /// What evaluations score on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_test: Option<String>,
    /// Where known sets lie; without it, `HSSL_DATA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Loader threads; 0: as many as cores.
    pub threads: usize,
    /// Batches kept ready; at least one for each loader thread.
    pub prefetch: usize,
    /// Broken images that are skipped before the run stops; 0: 1 % of the set, at least 10.
    pub bad_image_limit: usize,
    /// Decoded images kept in memory, in MiB; 0: none.
    pub cache_mb: usize,
    /// Whether a GPU makes the training views of the decoded images, where loader threads are too few
    /// for it: crops, colours and blur to the same bytes. On the CPU the loader makes them either way.
    #[serde(default)]
    pub augment_on_device: bool,
}

/// Which optimizer moves the student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Decoupled weight decay (Loshchilov and Hutter, 2019).
    Adamw,
    /// Momentum.
    Sgd,
    /// Layer-wise adaptive rates (You et al., 2017).
    Lars,
}

/// In which precision matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats throughout.
    F32,
    /// bf16 products; norms, softmax, losses and parameters in f32.
    Bf16,
}

/// Optimisation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Images per optimizer step and accumulation slice.
    pub batch_size: usize,
    /// Batches per optimizer step.
    pub accum_iter: usize,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Momentum of SGD and LARS; beta 1 of AdamW.
    pub momentum: f64,
    /// Beta 2 of AdamW.
    pub beta2: f64,
    /// Learning rate for 256 images per step; scaled linearly with the global batch.
    pub lr: f64,
    /// Learning rate at the end (not scaled).
    pub min_lr: f64,
    /// Epochs of linear warm-up from 0.
    pub warmup_epochs: usize,
    /// Weight decay at the start.
    pub weight_decay: f64,
    /// Weight decay at the end.
    pub weight_decay_end: f64,
    /// Largest norm of each parameter's gradient; 0: no clipping.
    pub clip_grad: f64,
    /// Epochs in which the last layer of the projection is not moved.
    pub freeze_last_layer: usize,
    /// Momentum of the teacher at the start.
    pub momentum_teacher: f64,
    /// Momentum of the teacher at the end.
    pub momentum_teacher_end: f64,
    /// Stochastic depth of the last block of the student; a linear ramp over base and head.
    pub drop_path: f64,
    /// Whether the ramp of stochastic depth counts the head's blocks.
    pub drop_path_counts_head: bool,
    /// Recompute blocks in the backward pass instead of keeping their intermediates.
    pub checkpoint_blocks: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Precision of matrix products.
    pub precision: Precision,
    /// Threads that compute; 0: as many as cores.
    pub threads: usize,
    /// Epochs between kept checkpoints; `last` is written every epoch. 0: only `last`.
    pub save_every: usize,
    /// Seconds between additional writes of `last` within an epoch; 0: none.
    pub save_seconds: u64,
    /// Steps between lines of metrics.
    pub log_every: usize,
}

/// Evaluation during and after training.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Epochs between online kNN evaluations of the teacher's base; 0: none.
    pub online_every: usize,
    /// Images of the evaluation's train split used online; 0: all.
    pub online_train: usize,
    /// Images of the evaluation's test split used online; 0: all.
    pub online_test: usize,
    /// Short side after resizing; 0: images at their own size.
    pub resize: usize,
    /// Side of the centre crop; 0: none.
    pub crop: usize,
    /// Images encoded at a time.
    pub batch_size: usize,
    /// Evaluations that `hssl eval` runs, by name.
    #[serde(default)]
    pub evaluators: BTreeMap<String, ComponentConfig>,
}
