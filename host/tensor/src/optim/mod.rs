//! Optimizers on master parameters, gradient clipping and moving averages.
//!
//! * [`AdamW`], [`Sgd`] and [`Lars`] share the trait [`Optimizer`] and parameter [`Group`]s.
//! * [`Clip`] limits gradients, and [`Averages`] move teachers towards their students, in the pass over
//!   memory that the step makes anyway ([`Step`]).
//! * [`layer_scale`] and [`vit_layer`] give layer-wise learning rates for fine-tuning.
//!
//! f32 parameters in CPU memory are updated by one fused, threaded loop each, and on a GPU, by AdamW, by
//! one kernel for many; everything else goes by candle's operations, in f32 for half types. A step replaces
//! a parameter's value and never writes into it, so values that were read before (a snapshot, a teacher's
//! first value) stay as they are.

mod adamw;
mod clip;
mod cuda;
mod ema;
mod fused;
mod group;
mod lars;
mod layer_decay;
mod sgd;
mod state;

pub use adamw::AdamW;
pub use clip::Clip;
pub use ema::{Averages, ema};
pub use group::Group;
pub use lars::Lars;
pub use layer_decay::{layer_scale, vit_layer};
pub use sgd::Sgd;

use crate::{Array, Gradients, Result};

/// What a step does.
#[derive(Debug)]
pub struct Step<'a> {
    /// Of the parameters that move.
    pub gradients: &'a Gradients,
    /// What of each gradient counts.
    pub clip: Clip,
    /// Teachers that move once their students have, be these trained or not.
    pub averages: Averages,
}

impl<'a> Step<'a> {
    /// Without clipping and teachers.
    pub fn new(gradients: &'a Gradients) -> Self {
        Self { gradients, clip: Clip::default(), averages: Averages::default() }
    }
}

/// Changes parameters by their gradients.
pub trait Optimizer: Send {
    /// The parameter groups.
    fn groups(&self) -> &[Group];

    /// The parameter groups, to set learning rates and weight decay before a step.
    fn groups_mut(&mut self) -> &mut [Group];

    /// One step; parameters without a gradient stay as they are and their state too.
    ///
    /// # Errors
    /// A gradient has another shape than its parameter, or a teacher than its student, or the device
    /// failed.
    fn update(&mut self, step: &Step<'_>) -> Result<()>;

    /// [`Optimizer::update`] without clipping and teachers.
    ///
    /// # Errors
    /// As [`Optimizer::update`].
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        self.update(&Step::new(gradients))
    }

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
