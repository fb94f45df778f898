//! Element types and access to the elements of an array in CPU memory.

use candle_core::{Device, Shape, Storage, WithDType};

use super::gemm_bf16::{round_blocks, round_row};
use super::{Brief, math};
use crate::{Array, Result, mode};

/// Numbers that kernels hold together: a 512-bit register of f32, or a few shorter ones.
pub const BLOCK: usize = 16;

/// A float element and the type in which sums of it are kept.
pub trait Real: WithDType + bytemuck::Pod + Send + Sync {
    /// f64 for f64, f32 for all others.
    type Acc: Acc;
    /// Widens.
    fn acc(self) -> Self::Acc;
    /// Rounds to the nearest.
    fn round(acc: Self::Acc) -> Self;
    /// The standard normal distribution at `acc`, as far as this type tells.
    #[inline(always)]
    fn normal(acc: Self::Acc) -> (Self::Acc, Self::Acc) {
        acc.normal()
    }
    /// Rounds rows of [`BLOCK`] numbers, of each of which `len` count, to places `stride` apart.
    #[inline(always)]
    fn round_blocks(slots: &mut [Self], stride: usize, rows: &[[Self::Acc; BLOCK]], len: usize) {
        for (slots, row) in slots.chunks_mut(stride).zip(rows) {
            Self::round_row(&mut slots[..len], row);
        }
    }
    /// Rounds the numbers of a row, at most as many as there are slots.
    #[inline(always)]
    fn round_row(slots: &mut [Self], row: &[Self::Acc]) {
        for (slot, acc) in slots.iter_mut().zip(row) {
            *slot = Self::round(*acc);
        }
    }
}

/// Whether results of this type are rounded.
pub const fn is_rounded<T: Real>() -> bool {
    size_of::<T>() != size_of::<T::Acc>()
}

/// The arithmetic that kernels need of an accumulator.
pub trait Acc:
    bytemuck::Pod
    + Send
    + Sync
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::iter::Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The smallest value.
    const LOWEST: Self;
    /// From a constant.
    fn of(value: f64) -> Self;
    /// To f64.
    fn f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x of an x that is at most 0, but for rounding.
    fn exp_below(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The standard normal distribution: the share below this number, and the density at it.
    fn normal(self) -> (Self, Self);
    /// self * a + b.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger of two.
    fn max(self, other: Self) -> Self;
}

macro_rules! acc {
    ($type:ty, $exp:path, $exp_below:path, $normal:path, $tanh:path) => {
        impl Acc for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$type>::NEG_INFINITY;
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn exp_below(self) -> Self {
                $exp_below(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                <$type>::ln(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn normal(self) -> (Self, Self) {
                $normal(self)
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self * a + b
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                <$type>::max(self, other)
            }
        }
    };
}
acc!(f32, math::exp, math::exp_below, math::normal, math::tanh);
acc!(f64, f64::exp, f64::exp, math::normal_f64, f64::tanh);

macro_rules! real {
    ($type:ty, $acc:ty, $widen:expr, $round:expr $(, $round_row:path, $round_blocks:path, $normal:path)?) => {
        impl Real for $type {
            type Acc = $acc;
            #[inline(always)]
            fn acc(self) -> $acc {
                $widen(self)
            }
            #[inline(always)]
            fn round(acc: $acc) -> Self {
                $round(acc)
            }
            $(
                #[inline(always)]
                fn round_row(slots: &mut [Self], row: &[$acc]) {
                    $round_row(slots, row);
                }
                #[inline(always)]
                fn normal(acc: $acc) -> ($acc, $acc) {
                    $normal(acc)
                }
                #[inline(always)]
                fn round_blocks(slots: &mut [Self], stride: usize, rows: &[[$acc; BLOCK]], len: usize) {
                    $round_blocks(slots, stride, rows, len);
                }
            )?
        }
    };
}
real!(f32, f32, |x| x, |x| x);
real!(f64, f64, |x| x, |x| x);
// Without the branches of `half`, which keep loops from being vectorised.
real!(half::bf16, f32, Brief::widen, Brief::round, round_row, round_blocks, math::normal_brief);
real!(half::f16, f32, half::f16::to_f32, half::f16::from_f32);

/// The elements of a contiguous array, held open for reading.
pub struct Elements {
    array: Array,
}

impl Elements {
    /// Borrows `array`, first copying it into row-major order where it is not.
    pub fn of(array: &Array) -> Result<Self> {
        Ok(Self { array: super::contiguous(array)? })
    }

    /// Hands the elements to `body`.
    ///
    /// # Errors
    /// The array is not in CPU memory or of another element type.
    pub fn read<T: WithDType, R>(&self, body: impl FnOnce(&[T]) -> R) -> Result<R> {
        let (storage, layout) = self.array.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(candle_core::Error::Msg("a CPU kernel got a device array".into()).into());
        };
        let all = T::cpu_storage_as_slice(storage)?;
        let start = layout.start_offset();
        Ok(body(&all[start..start + layout.shape().elem_count()]))
    }
}

/// Makes a CPU array that owns `data`; nothing is copied.
pub fn from_vec<T: WithDType>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Array> {
    Ok(Array::from_vec(data, shape.into(), &Device::Cpu)?)
}

/// Whether a kernel of ours may take this array: it lies in CPU memory, and the mode does not ask
/// for candle's operations.
pub fn is_native(array: &Array) -> bool {
    array.device().is_cpu() && !mode::current().portable
}
