//! Registers of f32 or f64, for kernels whose sums have to stay in registers: what the compiler
//! makes of a plain loop does not hold several rows of them.

use pulp::Simd;

use super::{Acc, BLOCK, Real};

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

/// The first elements of a slice, widened, as a register; zeros behind the last.
#[inline(always)]
pub fn load_lanes<S: Simd, E: Real<Acc: Vector>>(simd: S, from: &[E]) -> <E::Acc as Vector>::Of<S> {
    if size_of::<E>() == size_of::<E::Acc>()
        && let Some(register) = E::Acc::split::<S>(bytemuck::cast_slice(from)).0.first()
    {
        return *register;
    }
    let mut lanes = [E::Acc::ZERO; BLOCK];
    let Some(from) = from.first_chunk::<BLOCK>() else {
        for (lane, x) in lanes.iter_mut().zip(from) {
            *lane = x.acc();
        }
        return first(simd, &lanes);
    };
    // An array of its own and a loop of known length: neither takes the way over memory.
    let mut widened = [E::Acc::ZERO; BLOCK];
    for (slot, x) in widened.iter_mut().zip(from) {
        *slot = x.acc();
    }
    first(simd, &widened)
}

/// The first register of a block.
#[inline(always)]
fn first<S: Simd, T: Vector>(simd: S, lanes: &[T; BLOCK]) -> T::Of<S> {
    T::split::<S>(lanes).0.first().copied().unwrap_or(T::splat(simd, T::ZERO))
}

/// Writes a register's first lanes, rounded, as many as there are slots.
#[inline(always)]
pub fn store_lanes<S: Simd, E: Real<Acc: Vector>>(
    to: &mut [E],
    register: <E::Acc as Vector>::Of<S>,
) {
    if size_of::<E>() == size_of::<E::Acc>()
        && let Some(slot) =
            E::Acc::split_mut::<S>(bytemuck::cast_slice_mut::<E, E::Acc>(to)).0.first_mut()
    {
        *slot = register;
        return;
    }
    let mut lanes = [E::Acc::ZERO; BLOCK];
    if let Some(slot) = E::Acc::split_mut::<S>(&mut lanes).0.first_mut() {
        *slot = register;
    }
    for (slot, lane) in to.iter_mut().zip(&lanes) {
        *slot = E::round(*lane);
    }
}
