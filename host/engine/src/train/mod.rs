//! Training: one step, the loop over epochs, and what watches over it.

pub mod batches;
pub mod dump;
mod feed;
mod groups;
mod learner;
mod log;
mod schedule;
mod services;
mod state;
mod tensorboard;
mod trainer;
mod watch;

pub use groups::{decays, is_last_layer};
pub use learner::{BatchViews, Learner, Outcome, Rates};
pub use schedule::{Cosine, Schedules};
pub use trainer::{DISCREPANCY, Ending, Job, pretrain};
