//! What CPU kernels share: element types, borrowed elements, parallel loops, GEMM.

mod buffer;
mod channels;
mod convert;
pub mod copy;
mod elements;
mod fetch;
mod gemm;
mod gemm_bf16;
mod gemm_f32;
pub mod math;
mod order;
mod panels;
mod parallel;
mod pointwise;
mod reduce;
pub mod row;
pub mod select;
mod sparse;
mod transposed;
#[cfg(target_arch = "x86_64")]
mod turn;
mod vector;

pub use buffer::{Aligned, unwritten};
pub use channels::{
    Moments, channel_affine, channel_combine, channel_moments, channel_products, channel_sums,
};
pub use convert::{Cast, convert};
pub use copy::contiguous;
pub use elements::{Acc, BLOCK, Elements, Real, from_vec, is_native, is_rounded};
pub use fetch::{fetch, fetch_line, fetch_to_write};
pub use gemm::{Gathered, Matrix, Start, matmul, matmul_into};
pub use gemm_bf16::{Brief, gathered_bf16_into, gathers_bf16, matmul_bf16_into};
pub use gemm_f32::{Packed, gathered_into, pays as gathers_f32};
pub use order::first_in_order;
pub use parallel::{for_each_row, for_each_row_mut, grain, vectorized};
pub use pointwise::{map, map_twice, view, zip, zip_map, zip3};
pub use reduce::{sum, sum_terms};
pub use sparse::Sparse;
pub use vector::{Vector, load_lanes, store_lanes};

/// Runs `$body` with `$type` bound to the element type of a float array.
#[macro_export]
macro_rules! with_real {
    ($op:expr, $dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $type = f32;
                $body
            }
            $crate::DType::F64 => {
                type $type = f64;
                $body
            }
            $crate::DType::BF16 => {
                type $type = half::bf16;
                $body
            }
            $crate::DType::F16 => {
                type $type = half::f16;
                $body
            }
            found => Err($crate::Error::Type { op: $op, found, expected: "f32, f64, bf16 or f16" }),
        }
    };
}
