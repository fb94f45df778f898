//! Optimizers on master parameters, gradient clipping and moving averages.
//!
//! * [`AdamW`], [`Sgd`] and [`Lars`] share the trait [`Optimizer`] and parameter [`Group`]s.
//! * [`clip_per_tensor`] and [`clip_global`] limit gradients before a step.
//! * [`ema`] moves a teacher towards its student.
//! * [`layer_scale`] and [`vit_layer`] give layer-wise learning rates for fine-tuning.
//!
//! f32 parameters in CPU memory are updated by one fused, threaded loop each; everything else goes by
//! candle's operations, in f32 for half types. A step replaces a parameter's value and never writes
//! into it, so values that were read before (a snapshot, a teacher's first value) stay as they are.

mod adamw;
mod clip;
mod ema;
mod fused;
mod group;
mod lars;
mod layer_decay;
mod sgd;
mod state;

pub use adamw::AdamW;
pub use clip::{clip_global, clip_per_tensor};
pub use ema::ema;
pub use group::Group;
pub use lars::Lars;
pub use layer_decay::{layer_scale, vit_layer};
pub use sgd::Sgd;

use crate::{Array, Gradients, Result};

/// Changes parameters by their gradients.
pub trait Optimizer: Send {
    /// The parameter groups.
    fn groups(&self) -> &[Group];

    /// The parameter groups, to set learning rates and weight decay before a step.
    fn groups_mut(&mut self) -> &mut [Group];

    /// One step; parameters without a gradient stay as they are and their state too.
    ///
    /// # Errors
    /// A gradient has another shape than its parameter, or the device failed.
    fn step(&mut self, gradients: &Gradients) -> Result<()>;

    /// What must be kept for an exact resume, named `parameter.quantity`, in the groups' order.
    /// Quantities have the parameter's shape; `step` is a rank-0 i64.
    ///
    /// # Errors
    /// The device failed.
    fn state(&self) -> Result<Vec<(String, Array)>>;

    /// Takes up what [`Optimizer::state`] gave; parameters that it does not mention start anew.
    ///
    /// # Errors
    /// An entry belongs to no parameter, or its shape differs from the parameter's.
    fn load_state(&mut self, state: &[(String, Array)]) -> Result<()>;
}
