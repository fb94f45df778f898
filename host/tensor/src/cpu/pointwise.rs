//! Elementwise kernels: operands of any strides, so broadcast and permuted ones are not copied.

use bytemuck::Pod;
use candle_core::{Storage, WithDType};
use rayon::prelude::*;

use super::panels::Shared;
use super::{Acc as _, Real, from_vec, is_rounded, unwritten, vectorized};
use crate::{Array, Result};

/// Elements per task.
const CHUNK: usize = 16_384;
/// Elements per call of the inner loop; what is not side by side is first brought together.
const BLOCK: usize = 512;

/// f(x) for each element, in the type of the accumulator, rounded once.
pub fn map<T: Real>(x: &Array, f: impl Fn(T::Acc) -> T::Acc + Sync) -> Result<Array> {
    let output = view(x, |elements: &[T], strides| {
        walk(
            x.dims(),
            [strides],
            || ([T::zero(); BLOCK], [T::Acc::ZERO; BLOCK]),
            #[inline(always)]
            |[slots], [start], [step], (buffer, wide)| {
                let x = line(&elements[start..], step, slots.len(), buffer);
                // A row at a time.
                if is_rounded::<T>() {
                    for (slot, x) in wide.iter_mut().zip(x) {
                        *slot = f(x.acc());
                    }
                    T::round_row(slots, wide);
                    return;
                }
                for (slot, x) in slots.iter_mut().zip(x) {
                    *slot = T::round(f(x.acc()));
                }
            },
        )
    })?;
    single(output, x)
}

/// Two functions of each element that share their work, in the type of the accumulator, rounded once.
pub fn map_twice<T: Real>(
    x: &Array,
    f: impl Fn(T::Acc) -> (T::Acc, T::Acc) + Sync,
) -> Result<(Array, Array)> {
    let [first, second] = view(x, |elements: &[T], strides| {
        walk(
            x.dims(),
            [strides],
            || ([T::zero(); BLOCK], [[T::Acc::ZERO; BLOCK]; 2]),
            #[inline(always)]
            |[first, second], [start], [step], (buffer, [wide, wide2])| {
                let x = line(&elements[start..], step, first.len(), buffer);
                if is_rounded::<T>() {
                    for ((slot, slot2), x) in wide.iter_mut().zip(wide2.iter_mut()).zip(x) {
                        (*slot, *slot2) = f(x.acc());
                    }
                    T::round_row(first, wide);
                    T::round_row(second, wide2);
                    return;
                }
                for ((first, second), x) in first.iter_mut().zip(second).zip(x) {
                    let (a, b) = f(x.acc());
                    *first = T::round(a);
                    *second = T::round(b);
                }
            },
        )
    })?;
    Ok((from_vec(first, x.shape())?, from_vec(second, x.shape())?))
}

/// f(a, b) for each pair of elements of equal shapes.
pub fn zip_map<T: Real>(
    a: &Array,
    b: &Array,
    f: impl Fn(T::Acc, T::Acc) -> T::Acc + Sync,
) -> Result<Array> {
    zip(
        a,
        b,
        #[inline(always)]
        |a: T, b: T| T::round(f(a.acc(), b.acc())),
    )
}

/// f(a, b) for each pair of elements of equal shapes; types may differ.
///
/// # Panics
/// The shapes differ.
pub fn zip<A: WithDType, B: WithDType, O: WithDType + Pod>(
    a: &Array,
    b: &Array,
    f: impl Fn(A, B) -> O + Sync,
) -> Result<Array> {
    assert_eq!(a.dims(), b.dims(), "operands of one shape");
    let output = view(a, |left: &[A], strides_a| {
        view(b, |right: &[B], strides_b| {
            walk(
                a.dims(),
                [strides_a, strides_b],
                || ([A::zero(); BLOCK], [B::zero(); BLOCK]),
                #[inline(always)]
                |[slots], starts, steps, (buffer_a, buffer_b)| {
                    let a = line(&left[starts[0]..], steps[0], slots.len(), buffer_a);
                    let b = line(&right[starts[1]..], steps[1], slots.len(), buffer_b);
                    for (slot, (a, b)) in slots.iter_mut().zip(a.iter().zip(b)) {
                        *slot = f(*a, *b);
                    }
                },
            )
        })
    })??;
    single(output, a)
}

/// f(a, b, c) for each triple of elements of equal shapes; types may differ.
///
/// # Panics
/// The shapes differ.
pub fn zip3<A: WithDType, B: WithDType, C: WithDType, O: WithDType + Pod>(
    a: &Array,
    b: &Array,
    c: &Array,
    f: impl Fn(A, B, C) -> O + Sync,
) -> Result<Array> {
    assert!(a.dims() == b.dims() && a.dims() == c.dims(), "operands of one shape");
    let output = view(a, |first: &[A], strides_a| {
        view(b, |second: &[B], strides_b| {
            view(c, |third: &[C], strides_c| {
                walk(
                    a.dims(),
                    [strides_a, strides_b, strides_c],
                    || ([A::zero(); BLOCK], [B::zero(); BLOCK], [C::zero(); BLOCK]),
                    #[inline(always)]
                    |[slots], starts, steps, (buffer_a, buffer_b, buffer_c)| {
                        let a = line(&first[starts[0]..], steps[0], slots.len(), buffer_a);
                        let b = line(&second[starts[1]..], steps[1], slots.len(), buffer_b);
                        let c = line(&third[starts[2]..], steps[2], slots.len(), buffer_c);
                        for (slot, ((a, b), c)) in slots.iter_mut().zip(a.iter().zip(b).zip(c)) {
                            *slot = f(*a, *b, *c);
                        }
                    },
                )
            })
        })
    })???;
    single(output, a)
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

/// The one output of a walk, in the shape of `like`.
fn single<O: WithDType + Pod>([output]: [Vec<O>; 1], like: &Array) -> Result<Array> {
    from_vec(output, like.shape())
}

/// Fills `M` outputs of `shape` in row-major order, in parallel. `run(slots, starts, steps, scratch)`
/// is called for at most [`BLOCK`] slots of each output, for which each of the `N` operands advances
/// by a constant step, and writes every slot. Each task has its own scratch.
#[inline(always)]
fn walk<const N: usize, const M: usize, O: Pod + Send, S>(
    shape: &[usize],
    strides: [&[usize]; N],
    scratch: impl Fn() -> S + Sync,
    run: impl Fn([&mut [O]; M], [usize; N], [usize; N], &mut S) + Sync,
) -> [Vec<O>; M] {
    let rows = Rows::new(shape, strides);
    let total: usize = shape.iter().product();
    let mut outputs: [Vec<O>; M] = std::array::from_fn(|_| unwritten(total));
    let bases = outputs.each_mut().map(|output| Shared(output.as_mut_ptr()));
    let task = |chunk: usize| {
        let mut scratch = scratch();
        let (mut at, end) = (chunk * CHUNK, total.min((chunk + 1) * CHUNK));
        let (mut row, mut column) = (at / rows.len, at % rows.len);
        vectorized(
            #[inline(always)]
            || {
                while at < end {
                    let count = (rows.len - column).min(end - at).min(BLOCK);
                    // SAFETY: inside the `total` slots that each output has room for, and of this
                    // chunk, which no other task has.
                    let block = std::array::from_fn(|index| unsafe {
                        std::slice::from_raw_parts_mut(bases[index].0.add(at), count)
                    });
                    run(block, rows.starts(row, column), rows.steps, &mut scratch);
                    at += count;
                    column += count;
                    if column == rows.len {
                        (row, column) = (row + 1, 0);
                    }
                }
            },
        );
    };
    (0..total.div_ceil(CHUNK)).into_par_iter().for_each(task);
    outputs
}

/// `len` elements `step` apart, side by side: as they lie if `step` is 1, else in `buffer`.
#[inline(always)]
fn line<'a, T: Copy>(x: &'a [T], step: usize, len: usize, buffer: &'a mut [T; BLOCK]) -> &'a [T] {
    if step == 1 {
        return &x[..len];
    }
    collect(x, step, &mut buffer[..len]);
    &buffer[..len]
}

/// Apart from [`line`], so that there is one copy of it for each type and not for each kernel.
#[inline(never)]
fn collect<T: Copy>(x: &[T], step: usize, buffer: &mut [T]) {
    if step == 0 {
        buffer.fill(x[0]);
    } else {
        for (slot, x) in buffer.iter_mut().zip(x.iter().step_by(step)) {
            *slot = *x;
        }
    }
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

    /// Where an element lies in each operand.
    #[inline(always)]
    fn starts(&self, mut row: usize, column: usize) -> [usize; N] {
        let mut starts = self.steps.map(|step| column * step);
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
