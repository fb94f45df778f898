//! Copies of chosen slices and their adjoint.

use candle_core::WithDType;
use rayon::prelude::*;

use super::{Acc, Elements, Real, for_each_row_mut, from_vec, unwritten, vectorized};
use crate::ops::shape::split;
use crate::{Array, Result, with_element, with_real};

/// No source: the element is `fill`.
pub const NOWHERE: usize = usize::MAX;

/// y\[i, j, ..\] = x\[t0\[i\], t1\[j\], ..\] with one table per dimension (`None`: that dimension as it
/// is). Entries must lie inside x or be [`NOWHERE`].
pub fn select(x: &Array, tables: &[Option<Vec<usize>>], fill: f64) -> Result<Array> {
    let dims = x.dims();
    let Some(last) = tables.iter().rposition(Option::is_some) else { return Ok(x.clone()) };
    let shape: Vec<usize> =
        dims.iter().zip(tables).map(|(n, table)| table.as_ref().map_or(*n, Vec::len)).collect();
    let (_, size, inner) = split(dims, last);
    let runs = runs(tables[last].as_ref().expect("the last table exists"));
    with_element!("select", x.dtype(), T => {
        let mut output = unwritten::<T>(shape.iter().product());
        let fill = T::from_f64(fill);
        let covered = runs.iter().map(|(_, _, len)| len).sum::<usize>() == shape[last];
        Elements::of(x)?.read(|x: &[T]| {
            for_each_row_mut(&mut output, shape[last] * inner, |row, output| {
                let Some(base) = source_row(row, last, dims, &shape, tables) else {
                    output.fill(fill);
                    return;
                };
                if !covered {
                    output.fill(fill);
                }
                let x = &x[base * size * inner..(base + 1) * size * inner];
                for (to, from, len) in &runs {
                    output[to * inner..(to + len) * inner]
                        .copy_from_slice(&x[from * inner..(from + len) * inner]);
                }
            });
        })?;
        from_vec(output, shape.as_slice())
    })
}

/// Stretches (to, from, length) in which destination and source advance together.
fn runs(table: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (to, from) in table.iter().copied().enumerate().filter(|(_, from)| *from != NOWHERE) {
        match runs.last_mut() {
            Some((start, source, len)) if *start + *len == to && *source + *len == from => {
                *len += 1
            }
            _ => runs.push((to, from, 1)),
        }
    }
    runs
}

/// The row of x over the dimensions before `last` that output row `row` is read from.
fn source_row(
    mut row: usize,
    last: usize,
    dims: &[usize],
    shape: &[usize],
    tables: &[Option<Vec<usize>>],
) -> Option<usize> {
    let (mut source, mut scale) = (0, 1);
    for axis in (0..last).rev() {
        let index = row % shape[axis];
        row /= shape[axis];
        let index = tables[axis].as_ref().map_or(index, |table| table[index]);
        if index == NOWHERE {
            return None;
        }
        source += index * scale;
        scale *= dims[axis];
    }
    Some(source)
}

/// The adjoint of picking `table` along `dim`: entry j of the result is the sum of the entries i of
/// `grad` with `table[i] == j`, in order of i. The result has `size` entries along `dim`.
pub fn select_adjoint(grad: &Array, dim: usize, table: &[usize], size: usize) -> Result<Array> {
    let (_, picked, inner) = split(grad.dims(), dim);
    debug_assert_eq!(picked, table.len());
    let mut shape = grad.dims().to_vec();
    shape[dim] = size;
    let (offsets, sources) = invert(table, size);
    with_real!("select", grad.dtype(), T => {
        let mut output = unwritten::<T>(shape.iter().product());
        Elements::of(grad)?.read(|grad: &[T]| {
            for_each_row_mut(&mut output, inner, |row, output| {
                let (outer, entry) = (row / size, row % size);
                let base = outer * picked;
                add_rows(output, &sources[offsets[entry]..offsets[entry + 1]], |source| {
                    &grad[(base + source) * inner..(base + source + 1) * inner]
                });
            });
        })?;
        from_vec(output, shape.as_slice())
    })
}

/// For each value below `size`, the positions in `table` that hold it: (offsets, positions).
fn invert(table: &[usize], size: usize) -> (Vec<usize>, Vec<usize>) {
    let mut offsets = vec![0; size + 1];
    for entry in table {
        offsets[entry + 1] += 1;
    }
    for entry in 0..size {
        offsets[entry + 1] += offsets[entry];
    }
    let mut next = offsets.clone();
    let mut positions = vec![0; table.len()];
    for (position, entry) in table.iter().enumerate() {
        positions[next[*entry]] = position;
        next[*entry] += 1;
    }
    (offsets, positions)
}

/// output = sum of rows, kept in the accumulator's type until the end.
fn add_rows<'a, T: Real>(output: &mut [T], sources: &[usize], row: impl Fn(usize) -> &'a [T]) {
    match sources {
        [] => output.fill(T::zero()),
        [one] => output.copy_from_slice(row(*one)),
        [first, rest @ ..] => {
            let mut sum: Vec<T::Acc> = row(*first).iter().map(|x| x.acc()).collect();
            for source in rest {
                let source = row(*source);
                vectorized(
                    #[inline(always)]
                    || sum.iter_mut().zip(source).for_each(|(sum, x)| *sum += x.acc()),
                );
            }
            output.iter_mut().zip(sum).for_each(|(slot, sum)| *slot = T::round(sum));
        }
    }
}

/// y\[o, i, c\] = x\[o, index\[o, i, c\], c\]: picks along the middle dimension of (outer, size, inner).
/// With `whole` the index is (outer, count) and picks whole rows.
pub fn gather<T: WithDType + bytemuck::Pod>(
    x: &[T],
    index: &[i64],
    (outer, size, inner): (usize, usize, usize),
    whole: bool,
) -> Vec<T> {
    let picks = index.len() / outer.max(1);
    let row = if whole { picks * inner } else { picks };
    let mut output = unwritten::<T>(outer * row);
    for_each_row_mut(&mut output, row, |outer, output| {
        let x = &x[outer * size * inner..(outer + 1) * size * inner];
        let index = &index[outer * picks..(outer + 1) * picks];
        if whole {
            for (output, pick) in output.chunks_exact_mut(inner).zip(index) {
                let start = *pick as usize * inner;
                output.copy_from_slice(&x[start..start + inner]);
            }
        } else {
            for (output, index) in output.chunks_exact_mut(inner).zip(index.chunks_exact(inner)) {
                for (column, (slot, pick)) in output.iter_mut().zip(index).enumerate() {
                    *slot = x[*pick as usize * inner + column];
                }
            }
        }
    });
    output
}

/// Adds what [`gather`] would have read from its places: output\[o, index\[o, i, c\], c\] += source\[o, i, c\].
/// Equal indices add up in order of i.
pub fn scatter_add<T: WithDType>(
    output: &mut [T],
    source: &[T],
    index: &[i64],
    (outer, size, inner): (usize, usize, usize),
    whole: bool,
) {
    let picks = index.len() / outer.max(1);
    let row = if whole { picks * inner } else { picks };
    for_each_row_mut(output, size * inner, |outer, output| {
        let source = &source[outer * row..(outer + 1) * row];
        let index = &index[outer * picks..(outer + 1) * picks];
        if whole {
            for (source, pick) in source.chunks_exact(inner).zip(index) {
                let start = *pick as usize * inner;
                let slots = &mut output[start..start + inner];
                slots.iter_mut().zip(source).for_each(|(slot, x)| *slot += *x);
            }
        } else {
            for (source, index) in source.chunks_exact(inner).zip(index.chunks_exact(inner)) {
                for (column, (x, pick)) in source.iter().zip(index).enumerate() {
                    output[*pick as usize * inner + column] += *x;
                }
            }
        }
    });
}

/// x by `mask`: kept elements times `scale`, the others 0. One mask entry covers `span` elements.
pub fn masked<T: Real>(x: &Array, mask: &[u8], span: usize, scale: f64) -> Result<Array> {
    let scale = T::Acc::of(scale);
    let mut output = unwritten::<T>(x.elem_count());
    Elements::of(x)?.read(|x: &[T]| {
        if span == 1 {
            const CHUNK: usize = 16_384;
            let run = |((output, x), mask): ((&mut [T], &[T]), &[u8])| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((output, x), keep) in output.iter_mut().zip(x).zip(mask) {
                            *output =
                                if *keep != 0 { T::round(x.acc() * scale) } else { T::zero() };
                        }
                    },
                );
            };
            output
                .par_chunks_mut(CHUNK)
                .zip(x.par_chunks(CHUNK))
                .zip(mask.par_chunks(CHUNK))
                .for_each(run);
        } else {
            for_each_row_mut(&mut output, span, |row, output| {
                if mask[row] == 0 {
                    output.fill(T::zero());
                    return;
                }
                let x = &x[row * span..(row + 1) * span];
                vectorized(
                    #[inline(always)]
                    || {
                        for (output, x) in output.iter_mut().zip(x) {
                            *output = T::round(x.acc() * scale);
                        }
                    },
                );
            });
        }
    })?;
    from_vec(output, x.shape())
}
