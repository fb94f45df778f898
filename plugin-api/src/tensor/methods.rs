//! The operations that are one call of the host, as methods.

use hssl_ops::{DType, Op};

use super::Tensor;
use crate::Result;

macro_rules! methods {
    ($( $(#[$doc:meta])* $name:ident($($other:ident),*; $($argument:ident: $kind:ty),*) => $op:expr; )*) => {
        impl Tensor {
            $( $(#[$doc])* pub fn $name(&self $(, $other: &Tensor)* $(, $argument: $kind)*) -> Result<Tensor> {
                self.one(&$op, &[$($other),*])
            } )*
        }
    };
}

methods! {
    /// a + b, broadcast.
    add(other;) => Op::Add {};
    /// a - b, broadcast.
    sub(other;) => Op::Sub {};
    /// a * b, broadcast.
    mul(other;) => Op::Mul {};
    /// a / b, broadcast.
    div(other;) => Op::Div {};
    /// The larger of each pair.
    maximum(other;) => Op::Maximum {};
    /// The smaller of each pair.
    minimum(other;) => Op::Minimum {};
    /// mul * x + add.
    affine(; mul: f64, add: f64) => Op::Affine { mul, add };
    /// x to a constant power.
    powf(; exponent: f64) => Op::Powf { exponent };
    /// x limited to [min, max].
    clamp(; min: f64, max: f64) => Op::Clamp { min, max };
    /// a == b, u8.
    eq(other;) => Op::Eq {};
    /// a != b, u8.
    ne(other;) => Op::Ne {};
    /// a < b, u8.
    lt(other;) => Op::Lt {};
    /// a <= b, u8.
    le(other;) => Op::Le {};
    /// a > b, u8.
    gt(other;) => Op::Gt {};
    /// a >= b, u8.
    ge(other;) => Op::Ge {};
    /// `on_true` where this u8 condition is not 0, else `on_false`.
    where_cond(on_true, on_false;) => Op::Where {};
    /// -x.
    neg(;) => Op::Neg {};
    /// e^x.
    exp(;) => Op::Exp {};
    /// Natural logarithm.
    log(;) => Op::Log {};
    /// Square root.
    sqrt(;) => Op::Sqrt {};
    /// x * x.
    square(;) => Op::Square {};
    /// |x|.
    abs(;) => Op::Abs {};
    /// Sine.
    sin(;) => Op::Sin {};
    /// Cosine.
    cos(;) => Op::Cos {};
    /// Hyperbolic tangent.
    tanh(;) => Op::Tanh {};
    /// Logistic function.
    sigmoid(;) => Op::Sigmoid {};
    /// max(x, 0).
    relu(;) => Op::Relu {};
    /// x sigmoid(x).
    silu(;) => Op::Silu {};
    /// x Phi(x), exact.
    gelu(;) => Op::Gelu {};
    /// Sum over dimensions (all if empty).
    sum(; dims: &[i64], keepdim: bool) => Op::Sum { dims: dims.to_vec(), keepdim };
    /// Mean over dimensions (all if empty).
    mean(; dims: &[i64], keepdim: bool) => Op::Mean { dims: dims.to_vec(), keepdim };
    /// Variance over dimensions (all if empty).
    var(; dims: &[i64], correction: usize, keepdim: bool) => Op::Var { dims: dims.to_vec(), correction, keepdim };
    /// Largest along a dimension.
    max(; dim: i64, keepdim: bool) => Op::Max { dim, keepdim };
    /// Smallest along a dimension.
    min(; dim: i64, keepdim: bool) => Op::Min { dim, keepdim };
    /// Index of the largest along a dimension.
    argmax(; dim: i64, keepdim: bool) => Op::Argmax { dim, keepdim };
    /// Index of the smallest along a dimension.
    argmin(; dim: i64, keepdim: bool) => Op::Argmin { dim, keepdim };
    /// log(sum(exp(x))) along a dimension.
    log_sum_exp(; dim: i64, keepdim: bool) => Op::LogSumExp { dim, keepdim };
    /// Running sum.
    cum_sum(; dim: i64) => Op::CumSum { dim };
    /// `len` entries of a dimension from `start`.
    narrow(; dim: i64, start: usize, len: usize) => Op::Narrow { dim, start, len };
    /// Elements by index along a dimension.
    gather(index; dim: i64) => Op::Gather { dim };
    /// Slices by index along a dimension.
    index_select(index; dim: i64) => Op::IndexSelect { dim };
    /// Adds `source` at `index` along a dimension.
    scatter_add(index, source; dim: i64) => Op::ScatterAdd { dim };
    /// Shifts with wrap-around.
    roll(; shifts: &[i64], dims: &[i64]) => Op::Roll { shifts: shifts.to_vec(), dims: dims.to_vec() };
    /// Reverses dimensions.
    flip(; dims: &[i64]) => Op::Flip { dims: dims.to_vec() };
    /// Another element type.
    cast(; dtype: DType) => Op::Cast { dtype };
    /// The value without its history.
    detach(;) => Op::Detach {};
    /// Batched matrix product.
    matmul(other;) => Op::Matmul {};
    /// Largest of each window of a map.
    max_pool2d(; kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) => Op::MaxPool2d { kernel, stride, padding };
    /// Mean of each window of a map.
    avg_pool2d(; kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], count_include_pad: bool) => Op::AvgPool2d { kernel, stride, padding, count_include_pad };
    /// Mean over bins of a map.
    adaptive_avg_pool2d(; output: [usize; 2]) => Op::AdaptiveAvgPool2d { output };
    /// x / max(||x||, eps).
    l2_normalize(; dim: i64, eps: f64) => Op::L2Normalize { dim, eps };
    /// Rows g v / ||v||; `self` is v.
    weight_norm(g;) => Op::WeightNorm {};
    /// Softmax along a dimension.
    softmax(; dim: i64) => Op::Softmax { dim };
    /// log softmax along a dimension.
    log_softmax(; dim: i64) => Op::LogSoftmax { dim };
    /// Cross-entropy against probabilities, per row; `self` holds the logits.
    soft_cross_entropy(target; temperature: f64) => Op::SoftCrossEntropy { temperature };
    /// Cross-entropy against labels, per row; `self` holds the logits.
    cross_entropy(labels; label_smoothing: f64, ignore_index: i64) => Op::CrossEntropy { label_smoothing, ignore_index };
    /// Zeroes elements at random in training.
    dropout(; p: f64) => Op::Dropout { p };
    /// Zeroes whole samples at random in training.
    drop_path(; p: f64) => Op::DropPath { p };
}
