//! The larger or smaller of each pair.

use super::broadcast::{meet, reduce_to};
use crate::cpu::{self, Acc, Real};
use crate::{Array, Result, Tensor, tape, with_real};

/// The larger of each pair; shapes broadcast, floats meet in the wider type. NaN wins; a tie gives
/// each side half of the gradient.
///
/// # Errors
/// The shapes do not broadcast.
pub fn maximum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    extremum("Maximum", a, b, true)
}

/// The smaller of each pair; otherwise as [`maximum`].
///
/// # Errors
/// The shapes do not broadcast.
pub fn minimum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    extremum("Minimum", a, b, false)
}

fn extremum(op: &'static str, a: &Tensor, b: &Tensor, larger: bool) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let (left, right) = meet(op, &array_a, &array_b)?;
    let native = cpu::is_native(&left) && left.dtype().is_float();
    let output = match (native, larger) {
        (true, _) => kernel(op, &left, &right, larger)?,
        (false, true) => left.maximum(&right)?,
        (false, false) => left.minimum(&right)?,
    };
    let needs = (a.is_tracked(), b.is_tracked());
    let (shape_a, shape_b) = (array_a.dims().to_vec(), array_b.dims().to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    Ok(tape::record(op, &[a, b], output, move |grad| {
        let share = |mine: &Array, other: &Array| match native {
            true => kernel_share(op, mine, other, grad, larger),
            false => portable_share(mine, other, grad, larger),
        };
        let grad_a = || reduce_to(&share(&left, &right)?, &shape_a, type_a);
        let grad_b = || reduce_to(&share(&right, &left)?, &shape_b, type_b);
        Ok(vec![needs.0.then(grad_a).transpose()?, needs.1.then(grad_b).transpose()?])
    }))
}

fn kernel(op: &'static str, a: &Array, b: &Array, larger: bool) -> Result<Array> {
    with_real!(op, a.dtype(), T => cpu::zip(
        a,
        b,
        #[inline(always)]
        |a: T, b: T| {
            let (wide_a, wide_b) = (a.acc(), b.acc());
            let first = if larger { wide_a > wide_b } else { wide_a < wide_b };
            #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
            let nan = wide_a != wide_a;
            if first || nan { a } else { b }
        },
    ))
}

/// The gradient of the side `mine`.
fn kernel_share(
    op: &'static str,
    mine: &Array,
    other: &Array,
    grad: &Array,
    larger: bool,
) -> Result<Array> {
    #[inline(always)]
    fn share<T: Real>(mine: T, other: T, grad: T, larger: bool) -> T {
        let (mine, other, grad) = (mine.acc(), other.acc(), grad.acc());
        let wins = if larger { mine > other } else { mine < other };
        let tie = if mine == other { grad * T::Acc::of(0.5) } else { T::Acc::ZERO };
        T::round(if wins { grad } else { tie })
    }
    with_real!(op, mine.dtype(), T => cpu::zip3(
        mine,
        other,
        grad,
        #[inline(always)]
        |mine: T, other: T, grad: T| share(mine, other, grad, larger),
    ))
}

fn portable_share(mine: &Array, other: &Array, grad: &Array, larger: bool) -> Result<Array> {
    let wins = if larger { mine.gt(other)? } else { mine.lt(other)? }.to_dtype(grad.dtype())?;
    let ties = mine.eq(other)?.to_dtype(grad.dtype())?;
    Ok((grad * (wins + (ties * 0.5)?)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        let case = || Case::of(&[&[2, 3, 4], &[3, 1]]);
        check(case(), |x| maximum(&x[0], &x[1]));
        check(case(), |x| minimum(&x[0], &x[1]));
        check(Case::of(&[&[3], &[2, 3]]), |x| maximum(&x[0], &x[1]));
    }

    #[test]
    fn a_tie_is_shared() {
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let a = tape::input(Array::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap());
                let b = tape::input(Array::new(&[1f32, 3.0, 2.0], &Device::Cpu).unwrap());
                let y = maximum(&a, &b).unwrap();
                let grad = Array::new(&[1f32, 10.0, 100.0], &Device::Cpu).unwrap();
                let inputs = [a, b];
                let grads =
                    tape::backward_from(&[(y, grad)], &inputs, &mut Default::default()).unwrap();
                let grads: Vec<Vec<f32>> =
                    grads.into_iter().map(|grad| grad.unwrap().to_vec1().unwrap()).collect();
                assert_eq!(grads, [[0.5, 0.0, 100.0], [0.5, 10.0, 0.0]]);
            });
        }
    }
}
