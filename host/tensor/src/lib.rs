//! The tensor runtime: values, a tape, and every operation of [`hssl_ops::Op`] with its gradient.
//!
//! candle supplies storage, device memory and GEMM; automatic differentiation is ours, at the
//! level of operations, because candle's fused kernels drop or falsify gradients.
//!
//! * [`Tensor`] is a value with its history; [`Parameter`] a value that an optimizer changes.
//! * [`ops`] holds one file per operation: forward, vector-Jacobian product, kernels, gradient test.
//! * [`tape`] records and runs backwards; [`mode`] says what is recorded and in which precision.
//! * [`random`] is the one source of random numbers.
//!
//! This crate knows nothing of plugins, images or self-supervised learning.

mod accumulate;
pub mod cpu;
pub mod cuda;
mod dispatch;
mod error;
#[cfg(test)]
pub(crate) mod gate;
pub mod mode;
pub mod ops;
pub mod optim;
mod parameter;
pub mod profile;
pub mod random;
mod reduction;
pub mod tape;
mod tensor;

/// A candle tensor: storage and layout without history.
pub use candle_core::Tensor as Array;
pub use candle_core::{DType, Device};
pub use dispatch::{dispatch, from_wire, to_wire};
pub use error::{Error, Result};
pub use hssl_ops::{Op, PadMode, ResizeMode};
pub use parameter::Parameter;
pub use tape::{Gradients, backward, checkpoint};
pub use tensor::Tensor;
