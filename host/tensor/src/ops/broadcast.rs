//! Broadcasting, its adjoint, and the arithmetic of two operands.

use std::ops::{Add, Div, Mul, Sub};

use candle_core::WithDType;

use super::sum::total;
use crate::cpu::{self, Cast, Elements, from_vec};
use crate::{Array, DType, Error, Result, with_real};

/// The shape in which two shapes meet (NumPy rules).
pub(crate) fn shape(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| {
        (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::shape(op, format!("{a:?} and {b:?}"), "shapes that broadcast")),
        })
        .collect()
}

/// Sums a gradient over the dimensions that `shape` was broadcast along, and casts it to `dtype`.
pub(crate) fn reduce_to(grad: &Array, shape: &[usize], dtype: DType) -> Result<Array> {
    if grad.dims() == shape {
        return grad.cast(dtype);
    }
    let lead = grad.rank() - shape.len();
    let dims: Vec<usize> = (0..grad.rank())
        .filter(|axis| *axis < lead || (shape[*axis - lead] == 1 && grad.dims()[*axis] != 1))
        .collect();
    total("broadcast", grad, &dims, 1.0)?.reshape(shape)?.cast(dtype)
}

/// The float type in which two operands meet.
pub(crate) fn promote(a: &Array, b: &Array) -> Result<(Array, Array)> {
    let width = |dtype: DType| match dtype {
        DType::F64 => 5,
        DType::F32 => 4,
        DType::BF16 | DType::F16 => 3,
        DType::I64 => 2,
        DType::U32 => 1,
        _ => 0,
    };
    let (da, db) = (a.dtype(), b.dtype());
    let dtype = match (da, db) {
        _ if da == db => return Ok((a.clone(), b.clone())),
        (DType::BF16, DType::F16) | (DType::F16, DType::BF16) => DType::F32,
        _ if width(da) >= width(db) => da,
        _ => db,
    };
    Ok((a.cast(dtype)?, b.cast(dtype)?))
}

/// Both operands in one type and one shape; what is repeated is not copied.
pub(crate) fn meet(op: &'static str, a: &Array, b: &Array) -> Result<(Array, Array)> {
    let shape = shape(op, a.dims(), b.dims())?;
    let (a, b) = promote(a, b)?;
    Ok((a.broadcast_as(shape.as_slice())?, b.broadcast_as(shape.as_slice())?))
}

/// An operation of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// a + b, a - b, a * b or a / b; shapes broadcast, types are promoted. Integers wrap around.
///
/// # Errors
/// The shapes do not broadcast, or integers are to be divided.
pub(crate) fn arithmetic(kind: Arithmetic, a: &Array, b: &Array) -> Result<Array> {
    let op = match kind {
        Arithmetic::Add => "Add",
        Arithmetic::Sub => "Sub",
        Arithmetic::Mul => "Mul",
        Arithmetic::Div => "Div",
    };
    let (a, b) = meet(op, a, b)?;
    let dtype = a.dtype();
    if !dtype.is_float() && kind == Arithmetic::Div {
        return Err(Error::Type { op, found: dtype, expected: "floats on one side at least" });
    }
    macro_rules! wrapping {
        ($type:ty) => {
            integers(
                &a,
                &b,
                match kind {
                    Arithmetic::Add => <$type>::wrapping_add,
                    Arithmetic::Sub => <$type>::wrapping_sub,
                    _ => <$type>::wrapping_mul,
                },
            )
        };
    }
    macro_rules! float {
        ($f:path) => {
            with_real!(op, dtype, T => cpu::zip_map::<T>(&a, &b, #[inline(always)] |a, b| $f(a, b)))
        };
    }
    match dtype {
        _ if !cpu::is_native(&a) => Ok(match kind {
            Arithmetic::Add => (a + b)?,
            Arithmetic::Sub => (a - b)?,
            Arithmetic::Mul => (a * b)?,
            Arithmetic::Div => (a / b)?,
        }),
        DType::I64 => wrapping!(i64),
        DType::U32 => wrapping!(u32),
        DType::U8 => wrapping!(u8),
        _ => match kind {
            Arithmetic::Add => float!(Add::add),
            Arithmetic::Sub => float!(Sub::sub),
            Arithmetic::Mul => float!(Mul::mul),
            Arithmetic::Div => float!(Div::div),
        },
    }
}

/// Integers are few: one plain loop for all.
fn integers<T: WithDType>(a: &Array, b: &Array, f: fn(T, T) -> T) -> Result<Array> {
    let (left, right) = (Elements::of(a)?, Elements::of(b)?);
    let output = left.read(|a: &[T]| {
        right.read(|b: &[T]| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect::<Vec<_>>())
    })??;
    from_vec(output, a.shape())
}

/// The product of a gradient with a factor of its shape or one that broadcasts to it, summed to `shape`.
pub(crate) fn product_to(
    grad: &Array,
    factor: &Array,
    shape: &[usize],
    dtype: DType,
) -> Result<Array> {
    reduce_to(&arithmetic(Arithmetic::Mul, grad, factor)?, shape, dtype)
}

/// Refuses what is no float.
pub(crate) fn float(op: &'static str, array: &Array) -> Result<()> {
    match array.dtype() {
        DType::F32 | DType::F64 | DType::BF16 | DType::F16 => Ok(()),
        found => Err(Error::Type { op, found, expected: "f32, f64, bf16 or f16" }),
    }
}
