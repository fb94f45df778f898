//! Elementwise kernels: operands of any strides, so broadcast and permuted ones are not copied.

use std::mem::MaybeUninit;

use candle_core::{Storage, WithDType};
use rayon::prelude::*;

use super::{Real, from_vec, vectorized};
use crate::{Array, Result};

/// Elements per task.
const CHUNK: usize = 16_384;

/// f(x) for each element, in the type of the accumulator, rounded once.
pub fn map<T: Real>(x: &Array, f: impl Fn(T::Acc) -> T::Acc + Sync) -> Result<Array> {
    let f = std::convert::identity(
        #[inline(always)]
        |x: T| T::round(f(x.acc())),
    );
    let output = view(x, |elements: &[T], strides| {
        walk(
            x.dims(),
            [strides],
            #[inline(always)]
            |output, [start], [step]| run1(output, (&elements[start..], step), &f),
        )
    })?;
    from_vec(output, x.shape())
}

/// f(a, b) for each pair of elements of equal shapes.
pub fn zip_map<T: Real>(
    a: &Array,
    b: &Array,
    f: impl Fn(T::Acc, T::Acc) -> T::Acc + Sync,
) -> Result<Array> {
    debug_assert_eq!(a.dims(), b.dims());
    zip(
        a,
        b,
        #[inline(always)]
        |a: T, b: T| T::round(f(a.acc(), b.acc())),
    )
}

/// f(a, b) for each pair of elements of equal shapes; types may differ.
pub fn zip<A: WithDType, B: WithDType, O: WithDType>(
    a: &Array,
    b: &Array,
    f: impl Fn(A, B) -> O + Sync,
) -> Result<Array> {
    let output = view(a, |left: &[A], strides_a| {
        view(b, |right: &[B], strides_b| {
            walk(
                a.dims(),
                [strides_a, strides_b],
                #[inline(always)]
                |output, [start_a, start_b], [step_a, step_b]| {
                    run2(output, (&left[start_a..], step_a), (&right[start_b..], step_b), &f);
                },
            )
        })
    })??;
    from_vec(output, a.shape())
}

/// f(a, b, c) for each triple of elements of equal shapes; types may differ.
pub fn zip3<A: WithDType, B: WithDType, C: WithDType, O: WithDType>(
    a: &Array,
    b: &Array,
    c: &Array,
    f: impl Fn(A, B, C) -> O + Sync,
) -> Result<Array> {
    let output = view(a, |first: &[A], strides_a| {
        view(b, |second: &[B], strides_b| {
            view(c, |third: &[C], strides_c| {
                walk(
                    a.dims(),
                    [strides_a, strides_b, strides_c],
                    #[inline(always)]
                    |output, starts, [step_a, step_b, step_c]| {
                        let first = (&first[starts[0]..], step_a);
                        let second = (&second[starts[1]..], step_b);
                        run3(output, first, second, (&third[starts[2]..], step_c), &f);
                    },
                )
            })
        })
    })???;
    from_vec(output, a.shape())
}

/// Hands the elements, from the array's first one on, and the strides to `body`.
pub fn view<T: WithDType, R>(array: &Array, body: impl FnOnce(&[T], &[usize]) -> R) -> Result<R> {
    let (storage, layout) = array.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(candle_core::Error::Msg("a CPU kernel got a device array".into()).into());
    };
    let elements = T::cpu_storage_as_slice(storage)?;
    Ok(body(&elements[layout.start_offset().min(elements.len())..], layout.stride()))
}

/// Fills an output of `shape` in row-major order, in parallel. `run(slots, starts, steps)` is called
/// for pieces in which each of the `N` operands advances by a constant step, and writes every slot.
fn walk<const N: usize, O: Copy + Send>(
    shape: &[usize],
    strides: [&[usize]; N],
    run: impl Fn(&mut [MaybeUninit<O>], [usize; N], [usize; N]) + Sync,
) -> Vec<O> {
    let rows = Rows::new(shape, strides);
    let total: usize = shape.iter().product();
    let mut output = Vec::with_capacity(total);
    let task = |(chunk, slots): (usize, &mut [MaybeUninit<O>])| {
        vectorized(
            #[inline(always)]
            || {
                let (mut row, mut column) = (chunk * CHUNK / rows.len, chunk * CHUNK % rows.len);
                let mut slots = slots;
                while !slots.is_empty() {
                    let count = (rows.len - column).min(slots.len());
                    let (piece, rest) = slots.split_at_mut(count);
                    let mut starts = rows.starts(row);
                    for (start, step) in starts.iter_mut().zip(rows.steps) {
                        *start += column * step;
                    }
                    run(piece, starts, rows.steps);
                    (slots, row, column) = (rest, row + 1, 0);
                }
            },
        );
    };
    let slots = &mut output.spare_capacity_mut()[..total];
    slots.par_chunks_mut(CHUNK).enumerate().for_each(task);
    // SAFETY: the chunks cover the `total` slots, and `run`, which only this file provides, writes
    // every slot that it is given.
    unsafe { output.set_len(total) };
    output
}

/// A shape as rows of constant step in every operand, neighbouring dimensions merged where possible.
struct Rows<const N: usize> {
    /// Size and strides of the dimensions around the rows, innermost first.
    around: Vec<(usize, [usize; N])>,
    len: usize,
    steps: [usize; N],
}

impl<const N: usize> Rows<N> {
    fn new(shape: &[usize], strides: [&[usize]; N]) -> Self {
        let mut dims: Vec<(usize, [usize; N])> = Vec::with_capacity(shape.len());
        for (axis, &size) in shape.iter().enumerate().rev().filter(|(_, size)| **size != 1) {
            let steps = strides.map(|strides| strides[axis]);
            match dims.last_mut() {
                Some((len, inner)) if (0..N).all(|i| steps[i] == inner[i] * *len) => *len *= size,
                _ => dims.push((size, steps)),
            }
        }
        if dims.is_empty() {
            return Self { around: dims, len: 1, steps: [0; N] };
        }
        let (len, steps) = dims.remove(0);
        Self { around: dims, len, steps }
    }

    /// Where a row begins in each operand.
    fn starts(&self, mut row: usize) -> [usize; N] {
        let mut starts = [0; N];
        for (size, strides) in &self.around {
            let index = row % size;
            row /= size;
            for (start, stride) in starts.iter_mut().zip(strides) {
                *start += index * stride;
            }
        }
        starts
    }
}

/// Elements and the step between them.
type Strided<'a, T> = (&'a [T], usize);

#[inline(always)]
fn run1<A: Copy, O>(output: &mut [MaybeUninit<O>], (a, step): Strided<'_, A>, f: &impl Fn(A) -> O) {
    if step == 1 {
        let len = output.len();
        for (slot, a) in output.iter_mut().zip(&a[..len]) {
            slot.write(f(*a));
        }
    } else {
        for (index, slot) in output.iter_mut().enumerate() {
            slot.write(f(a[index * step]));
        }
    }
}

#[inline(always)]
fn run2<A: Copy, B: Copy, O>(
    output: &mut [MaybeUninit<O>],
    (a, step_a): Strided<'_, A>,
    (b, step_b): Strided<'_, B>,
    f: &impl Fn(A, B) -> O,
) {
    match (step_a, step_b) {
        (1, 1) => {
            let len = output.len();
            for ((slot, a), b) in output.iter_mut().zip(&a[..len]).zip(&b[..len]) {
                slot.write(f(*a, *b));
            }
        }
        (1, 0) => {
            let (b, len) = (b[0], output.len());
            for (slot, a) in output.iter_mut().zip(&a[..len]) {
                slot.write(f(*a, b));
            }
        }
        (0, 1) => {
            let (a, len) = (a[0], output.len());
            for (slot, b) in output.iter_mut().zip(&b[..len]) {
                slot.write(f(a, *b));
            }
        }
        _ => {
            for (index, slot) in output.iter_mut().enumerate() {
                slot.write(f(a[index * step_a], b[index * step_b]));
            }
        }
    }
}

#[inline(always)]
fn run3<A: Copy, B: Copy, C: Copy, O>(
    output: &mut [MaybeUninit<O>],
    (a, step_a): Strided<'_, A>,
    (b, step_b): Strided<'_, B>,
    (c, step_c): Strided<'_, C>,
    f: &impl Fn(A, B, C) -> O,
) {
    if (step_a, step_b, step_c) == (1, 1, 1) {
        let len = output.len();
        let inputs = a[..len].iter().zip(&b[..len]).zip(&c[..len]);
        for (slot, ((a, b), c)) in output.iter_mut().zip(inputs) {
            slot.write(f(*a, *b, *c));
        }
    } else {
        for (index, slot) in output.iter_mut().enumerate() {
            slot.write(f(a[index * step_a], b[index * step_b], c[index * step_c]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    fn counting(shape: &[usize]) -> Array {
        let len = shape.iter().product::<usize>() as f32;
        Array::arange(0f32, len, &Device::Cpu).unwrap().reshape(shape).unwrap()
    }

    fn flat(array: &Array) -> Vec<f32> {
        array.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Sizes beyond one task and rows that cross the border of tasks, against candle.
    #[test]
    fn strides_are_followed() {
        let x = counting(&[7, 300, 11]);
        let views = [
            x.clone(),
            x.permute((2, 0, 1)).unwrap(),
            x.narrow(1, 13, 200).unwrap(),
            x.narrow(2, 3, 5).unwrap().permute((1, 2, 0)).unwrap(),
            counting(&[11]).broadcast_as((7, 300, 11)).unwrap(),
            counting(&[300, 1]).broadcast_as((7, 300, 11)).unwrap(),
            counting(&[7, 1, 1]).broadcast_as((7, 300, 11)).unwrap(),
        ];
        for a in &views {
            let doubled = map::<f32>(a, |x| x + x).unwrap();
            assert_eq!(flat(&doubled), flat(&(a + a).unwrap()), "{:?}", a.layout());
            for b in views.iter().filter(|b| b.dims() == a.dims()) {
                let found = zip(a, b, |a: f32, b: f32| a - 2.0 * b).unwrap();
                let expected = (a - (b * 2.0).unwrap()).unwrap();
                assert_eq!(flat(&found), flat(&expected), "{:?} {:?}", a.layout(), b.layout());
                let found = zip3(a, b, a, |a: f32, b: f32, c: f32| a - b - c).unwrap();
                let expected = (a - b).unwrap().sub(a).unwrap();
                assert_eq!(flat(&found), flat(&expected), "{:?} {:?}", a.layout(), b.layout());
            }
        }
    }

    #[test]
    fn nothing_and_a_scalar_are_arrays_too() {
        let empty = Array::zeros((3, 0), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(map::<f32>(&empty, |x| x).unwrap().dims(), [3, 0]);
        let scalar = Array::new(2f32, &Device::Cpu).unwrap();
        let cube = zip_map::<f32>(&scalar, &map::<f32>(&scalar, |x| x * x).unwrap(), |x, y| x * y);
        assert_eq!(cube.unwrap().to_scalar::<f32>().unwrap(), 8.0);
    }
}
