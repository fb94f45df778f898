//! Optimizers on f32 master parameters.
