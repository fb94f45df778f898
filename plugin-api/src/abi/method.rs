//! Method numbers of the cold path. Append; never renumber.

/// Services that the host offers during a call.
pub mod host {
    /// Writes a log line: `{level, message}`.
    pub const LOG: u32 = 1;
    /// Makes or fetches a parameter or buffer: a `ParameterRequest`; reply: one tensor.
    pub const PARAMETER: u32 = 2;
    /// Replaces a buffer's value: tensors \[buffer, value\].
    pub const ASSIGN: u32 = 3;
    /// Reports progress: `{done, total, text}`; reply: `{cancelled}`.
    pub const PROGRESS: u32 = 4;
    /// Encodes images by a network: `EncodeRequest` and \[images, mask?\]; reply: branches.
    pub const ENCODE: u32 = 5;
    /// Features of a data split: `FeatureRequest`; reply: \[features, labels\].
    pub const FEATURES: u32 = 6;
    /// Makes an optimizer: `OptimizerRequest` and its parameters; reply: `{optimizer}`.
    pub const OPTIMIZER: u32 = 7;
    /// Differentiates a loss and steps: `{optimizer, lr_factor}` and \[loss\].
    pub const OPTIMIZER_STEP: u32 = 8;
    /// Mean over ranks of one tensor; reply: one tensor.
    pub const ALL_REDUCE_MEAN: u32 = 9;
    /// Seeds the host's generator for what follows: `{stream}`.
    pub const RANDOM_STREAM: u32 = 10;
    /// Encodes some of the patches by a network's base: `EncodeKeptRequest` and \[images, kept\]; reply: tokens.
    pub const ENCODE_KEPT: u32 = 11;
    /// The final norm of a network's base: `{role}` and \[tokens\]; reply: \[tokens\].
    pub const NORM: u32 = 12;
    /// What a network's heads make of a map: `EncodeRequest` and \[map\]; reply: branches.
    pub const ENCODE_MAP: u32 = 13;
    /// A random choice of a step: `{name}`; reply: \[value\] if one was given from outside. With \[value\]: what
    /// was chosen.
    pub const DRAWN: u32 = 14;
}

/// What the host asks of a component instance.
pub mod component {
    /// Backbone or head: `Spec`.
    pub const SPEC: u32 = 1;
    /// Backbone: \[images, mask?\] and a `Request`; head: features. Reply: features.
    pub const FORWARD: u32 = 2;
    /// Backbone or head: `{rates}` of stochastic depth, one per block.
    pub const DROP_PATH: u32 = 3;
    /// Objective: one step; views and a `StepInfo`. Reply: the loss.
    pub const STEP: u32 = 4;
    /// Objective: after the optimizer's step.
    pub const AFTER_STEP: u32 = 5;
    /// Evaluator: the whole evaluation. Reply: `Report`.
    pub const RUN: u32 = 6;
    /// Backbone: a loaded weight of another shape: `{name, shape}` and \[weight\]. Reply: \[weight\] or nothing.
    pub const ADAPT_WEIGHT: u32 = 7;
    /// Objective: what projections make of images: `{role, info}` and \[images\]. Reply: the projections' ends
    /// and \[plain.i, centred.i\].
    pub const LOGITS: u32 = 8;
    /// Backbone: \[images, kept\] and a `KeptRequest`. Reply: tokens.
    pub const FORWARD_KEPT: u32 = 9;
    /// Backbone: \[tokens\]. Reply: \[tokens\] after the final norm.
    pub const NORM: u32 = 10;
}
