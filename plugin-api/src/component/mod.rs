//! The four kinds of component and what passes between them and the host.

mod backbone;
mod evaluator;
mod features;
mod head;
mod network;
mod objective;

pub use backbone::{
    Backbone, BackboneSetup, BackboneSpec, Capability, KeptRequest, MaskTensor, Request, StageSpec,
};
pub use evaluator::{
    Evaluation, Evaluator, FeatureKind, FeatureRequest, Optimizer, OptimizerGroup,
    OptimizerRequest, Report, Split,
};
pub use features::{Features, Tokens};
pub use head::{FirstShortcut, Head, HeadInput, HeadSpec};
pub use network::{EncodeKeptRequest, EncodeRequest, EncodedBranches, Network, Role};
pub use objective::{
    BranchSpec, Edge, End, Level, Loss, Objective, ObjectiveSetup, ProjectedLogits, Reduction,
    StepContext, StepInfo, Views, check_patches, reduce_edges,
};

use serde::{Deserialize, Serialize};

pub(crate) fn mask(tensor: crate::Tensor) -> MaskTensor {
    MaskTensor(tensor)
}

/// The kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A base model.
    Backbone,
    /// An auxiliary head.
    Head,
    /// A self-supervised learning method.
    Objective,
    /// A downstream evaluation.
    Evaluator,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Backbone, Self::Head, Self::Objective, Self::Evaluator];

    /// The kind's word in configs and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backbone => "backbone",
            Self::Head => "head",
            Self::Objective => "objective",
            Self::Evaluator => "evaluator",
        }
    }

    /// The kind that a word names.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What a plugin tells of one component once it is loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentManifest {
    /// Its kind.
    pub kind: Kind,
    /// Its name in configs.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// JSON schema of its configuration section.
    pub config: serde_json::Value,
    /// Backbones: what they can do; objectives: what they need.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Objectives: defaults for the other sections of a run's configuration.
    #[serde(default)]
    pub recipe: serde_json::Value,
}

/// What a plugin tells of itself once it is loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Its components, in the order of their indices.
    pub components: Vec<ComponentManifest>,
}
