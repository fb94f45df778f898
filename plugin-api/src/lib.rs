//! All that the author of a plugin sees.
//!
//! A plugin is one shared library with components of four kinds ([`component`]): backbones, auxiliary
//! heads, objectives, evaluators. It links this crate and nothing of the host; a [`Tensor`] is a handle
//! to the host's value, and every computation is a call of the host, so one plugin binary runs on every
//! device and in every precision that the host has.
//!
//! A component is a struct, its trait, and one line of [`export!`]. Its code reads like candle's:
//! `x.matmul(&w)?`, `x.reshape((b, n, c))?`, `params.pp("blocks").pp(i)`.

#[macro_use]
mod error;
pub mod abi;
pub mod component;
mod context;
#[doc(hidden)]
pub mod export;
pub mod joint_embedding;
pub mod masked_autoencoding;
pub mod nn;
pub mod params;
pub mod self_distillation;
mod tensor;
pub mod wire;

pub use component::{Backbone, Evaluator, Head, Objective};
pub use context::{Context, Level as LogLevel};
pub use error::{Error, Result};
pub use hssl_ops::{DType, Op, PadMode, ResizeMode};
pub use params::{Init, Params};
pub use schemars;
pub use serde;
pub use serde_json;
pub use tensor::{Element, IntoShape, Tensor};
