//! The operation list: every computation that a component may ask of the host.
//!
//! Operations are *data*. A plugin names one by its stable id and sends its attributes as words;
//! the host decodes them and computes. The list is the only thing the two sides share, which is
//! why this crate depends on nothing.
//!
//! The checked file `op-versions.txt` holds each operation's id, attributes and the interface
//! version that introduced it. Adding an operation appends a line there; reordering, removing or
//! changing one breaks plugins that are already in users' hands, and the test in this crate says so.

mod attribute;
mod list;

pub use attribute::{Attribute, Words};
pub use list::{LIST, Op};

/// Element types of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: parameters, reductions and losses.
    F32,
    /// 64-bit float: gradient checks.
    F64,
    /// bfloat16: matrix products under autocast.
    BF16,
    /// IEEE half precision.
    F16,
    /// 64-bit signed integer: indices and labels.
    I64,
    /// 32-bit unsigned integer.
    U32,
    /// 8-bit unsigned integer: images and masks (1 = true).
    U8,
}

/// How [`Op::Resize`] samples between grid points (the conventions of `torch.nn.functional.interpolate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// The grid point below.
    Nearest,
    /// Linear in both directions.
    Bilinear,
    /// Cubic convolution, a = -0.75 (-0.5 with antialiasing, as PIL).
    Bicubic,
}

/// What [`Op::Pad`] fills with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// One value.
    Constant,
    /// Mirrored at the edge, which is not repeated.
    Reflect,
    /// The edge, repeated.
    Replicate,
}

/// One line of the operation list.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// Stable id; never reused.
    pub id: u32,
    /// Name as in [`Op`].
    pub name: &'static str,
    /// `(name, kind)` of each attribute, in the order in which its words are sent.
    pub attributes: &'static [(&'static str, &'static str)],
    /// Interface version that introduced the operation.
    pub since: &'static str,
}

impl std::fmt::Display for OpInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<4} {:<22} {}", self.id, self.name, self.since)?;
        self.attributes.iter().try_for_each(|(name, kind)| write!(f, " {name}:{kind}"))
    }
}
