//! Parameters: named values that the host creates, trains and saves.

use serde::{Deserialize, Serialize};

use crate::abi::method;
use crate::wire::Envelope;
use crate::{Context, Result, Tensor};

/// How a parameter starts. Random values come from the host's generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// One value.
    Constant(f64),
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, cut at +-2 (absolute, as timm and DINO do).
    TruncNormal {
        /// Standard deviation before the cut.
        std: f64,
    },
    /// Uniform on [-bound, bound).
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Given values in row-major order.
    Values(Vec<f64>),
}

impl Init {
    /// 0.
    pub const ZEROS: Self = Self::Constant(0.0);
    /// 1.
    pub const ONES: Self = Self::Constant(1.0);
    /// Truncated normal with std 0.02: ViT's linears, positions, tokens.
    pub const TRUNC_002: Self = Self::TruncNormal { std: 0.02 };

    /// PyTorch's default for linear and convolution weights and biases: U(+-1/sqrt(fan_in)).
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in.max(1) as f64).sqrt() }
    }

    /// He et al. for ReLU, by the fan out: N(0, 2 / fan_out).
    pub fn kaiming_fan_out(fan_out: usize) -> Self {
        Self::Normal { mean: 0.0, std: (2.0 / fan_out.max(1) as f64).sqrt() }
    }

    /// Glorot and Bengio: U(+-sqrt(6 / (fan_in + fan_out))).
    pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform { bound: (6.0 / (fan_in + fan_out).max(1) as f64).sqrt() }
    }
}

/// What [`Params`] asks of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParameterRequest {
    /// Which network: `student`, `teacher`, `state` or an evaluator's own.
    pub store: String,
    /// Full name within the store.
    pub name: String,
    /// Sizes.
    pub shape: Vec<usize>,
    /// First value.
    pub init: Init,
    /// Whether it is trained.
    pub trainable: bool,
}

/// A scope of parameter names, like `blocks.3.attn`.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    context: Context<'a>,
    store: String,
    prefix: String,
    frozen: bool,
}

impl<'a> Params<'a> {
    /// The root of a store.
    pub fn root(context: Context<'a>, store: impl Into<String>) -> Self {
        Self { context, store: store.into(), prefix: String::new(), frozen: false }
    }

    /// The scope `name` inside this one.
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.full_name(&name.to_string()), ..self.clone() }
    }

    /// The same scope, whose parameters are not trained.
    pub fn frozen(&self) -> Self {
        Self { frozen: true, ..self.clone() }
    }

    /// The host.
    pub fn context(&self) -> &Context<'a> {
        &self.context
    }

    /// Name of this scope, or `fallback` at the root: for error messages.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// A trainable parameter.
    pub fn get(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.request(name, shape, init, !self.frozen)
    }

    /// A value that no optimizer touches: running statistics, centres, fixed positions. Change it
    /// with [`Context::assign`].
    pub fn buffer(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.request(name, shape, init, false)
    }

    fn request(&self, name: &str, shape: &[usize], init: Init, trainable: bool) -> Result<Tensor> {
        let request = ParameterRequest {
            store: self.store.clone(),
            name: self.full_name(name),
            shape: shape.to_vec(),
            init,
            trainable,
        };
        self.context.call(method::host::PARAMETER, &Envelope::new(&request)?)?.tensor("parameter")
    }
}
