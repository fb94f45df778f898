//! Self-distillation by prototypes: what DINO, iBOT and methods on top of them share.
//!
//! Student and teacher score each view against K prototypes. The teacher's scores, centred and
//! sharpened, are an assignment, and the student predicts it from another view (or, for patches, from
//! an image whose patches are hidden). Here are the projections that score, the centres and
//! temperatures that make assignments, and the loss between views.

mod centre;
mod diagnostics;
mod projection;
mod temperature;
mod views;

pub use centre::Centre;
pub use diagnostics::Diagnostics;
pub use projection::{ProjectionConfig, Projections, Prototypes};
pub use temperature::TeacherTemperature;
pub use views::{CropLogits, branches_of, cross_view_loss};
