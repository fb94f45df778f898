//! The operations, one file each: forward, vector-Jacobian product, kernels and gradient test.
//!
//! [`shape`], [`broadcast`] and [`index`] are what they share; `dispatch` maps [`hssl_ops::Op`] to these functions.

pub(crate) mod broadcast;
pub(crate) mod geometry;
pub(crate) mod index;
pub(crate) mod precision;
pub(crate) mod shape;

mod adaptive_avg_pool2d;
mod add;
mod affine;
mod arange;
mod argmax;
mod attention;
mod avg_pool2d;
mod batch_norm;
mod broadcast_to;
mod cast;
mod cat;
mod clamp;
mod compare;
mod conv2d;
mod conv_transpose2d;
mod convolution;
mod cross_entropy;
mod cum_sum;
mod depthwise;
mod detach;
mod div;
mod drop_path;
mod dropout;
mod extremum;
mod flip;
mod full;
mod gather;
mod gelu;
mod group_norm;
mod index_select;
mod l2_normalize;
mod layer_norm;
mod linear;
mod log_softmax;
mod log_sum_exp;
mod matmul;
mod max;
mod max_pool2d;
mod mean;
mod mul;
mod narrow;
mod normal;
mod pad;
mod per_channel;
mod permute;
mod powf;
mod relu;
mod reshape;
mod resize;
mod roll;
mod scatter_add;
mod select;
mod silu;
mod soft_cross_entropy;
mod softmax;
mod sort;
mod sub;
mod sum;
mod top_k;
mod unary;
mod unfold;
mod uniform;
mod var;
mod weight_norm;

pub use adaptive_avg_pool2d::adaptive_avg_pool2d;
pub use add::add;
pub use affine::affine;
pub use arange::arange;
pub use argmax::{argmax, argmin};
pub use attention::attention;
pub use avg_pool2d::avg_pool2d;
pub use batch_norm::batch_norm;
pub use broadcast_to::broadcast_to;
pub use cast::cast;
pub use cat::cat;
pub use clamp::clamp;
pub use compare::{eq, ge, gt, le, lt, ne};
pub use conv_transpose2d::conv_transpose2d;
pub use conv2d::conv2d;
pub use cross_entropy::cross_entropy;
pub use cum_sum::cum_sum;
pub use detach::detach;
pub use div::div;
pub use drop_path::drop_path;
pub use dropout::dropout;
pub use extremum::{maximum, minimum};
pub use flip::flip;
pub use full::full;
pub use gather::gather;
pub use gelu::gelu;
pub use geometry::Geometry;
pub use group_norm::group_norm;
pub use index_select::index_select;
pub use l2_normalize::l2_normalize;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use log_softmax::log_softmax;
pub use log_sum_exp::log_sum_exp;
pub use matmul::matmul;
pub use max::{max, min};
pub use max_pool2d::max_pool2d;
pub use mean::mean;
pub use mul::mul;
pub use narrow::narrow;
pub use normal::normal;
pub use pad::pad;
pub use permute::permute;
pub use powf::powf;
pub use relu::relu;
pub use reshape::reshape;
pub use resize::resize;
pub use roll::roll;
pub use scatter_add::scatter_add;
pub use select::select;
pub use silu::silu;
pub use soft_cross_entropy::soft_cross_entropy;
pub use softmax::softmax;
pub use sort::sort;
pub use sub::sub;
pub use sum::sum;
pub use top_k::top_k;
pub use unary::{abs, cos, exp, log, neg, sigmoid, sin, sqrt, square, tanh};
pub use uniform::uniform;
pub use var::var;
pub use weight_norm::weight_norm;

/// Threaded arithmetic on arrays, without history.
pub(crate) mod array {
    use super::broadcast::{Arithmetic, arithmetic};
    use crate::{Array, Result};

    pub(crate) use super::affine::scaled;
    pub(crate) use super::precision::wide;

    /// a + b.
    pub(crate) fn sum(a: &Array, b: &Array) -> Result<Array> {
        arithmetic(Arithmetic::Add, a, b)
    }
}
