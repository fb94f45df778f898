//! Registers of f32 or f64, for kernels whose sums have to stay in registers: what the compiler
//! makes of a plain loop does not hold several rows of them.

use pulp::Simd;

use super::Acc;

/// A float that fills the registers of an instruction set `S`.
pub trait Vector: Acc {
    /// As many as fit a register.
    type Of<S: Simd>: Copy;
    /// The registers in a slice, and what remains.
    fn split<S: Simd>(slice: &[Self]) -> (&[Self::Of<S>], &[Self]);
    /// The registers in a slice, and what remains.
    fn split_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Of<S>], &mut [Self]);
    /// The same number in each lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Of<S>;
    /// a b + c, rounded once where the processor can.
    fn fused<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>, c: Self::Of<S>) -> Self::Of<S>;
    /// a + b.
    fn plus<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>) -> Self::Of<S>;
}

macro_rules! vector {
    ($type:ty, $of:ident, $split:ident, $split_mut:ident, $splat:ident, $fused:ident, $plus:ident) => {
        impl Vector for $type {
            type Of<S: Simd> = S::$of;
            #[inline(always)]
            fn split<S: Simd>(slice: &[Self]) -> (&[Self::Of<S>], &[Self]) {
                S::$split(slice)
            }
            #[inline(always)]
            fn split_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Of<S>], &mut [Self]) {
                S::$split_mut(slice)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> Self::Of<S> {
                simd.$splat(value)
            }
            #[inline(always)]
            fn fused<S: Simd>(
                simd: S,
                a: Self::Of<S>,
                b: Self::Of<S>,
                c: Self::Of<S>,
            ) -> Self::Of<S> {
                simd.$fused(a, b, c)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: Self::Of<S>, b: Self::Of<S>) -> Self::Of<S> {
                simd.$plus(a, b)
            }
        }
    };
}
vector!(f32, f32s, as_simd_f32s, as_mut_simd_f32s, splat_f32s, mul_add_e_f32s, add_f32s);
vector!(f64, f64s, as_simd_f64s, as_mut_simd_f64s, splat_f64s, mul_add_e_f64s, add_f64s);
