//! Copies between layouts, threaded: strided arrays to row-major order, and several arrays into one.

use candle_core::{Storage, WithDType};
use rayon::prelude::*;

use super::{from_vec, unwritten};
use crate::{Array, Result};

/// Elements per task.
const CHUNK: usize = 16_384;
/// Rows that a transposing copy fills side by side: 16 f32 make a cache line.
const TILE: usize = 16;

/// Runs `$body` with `$type` bound to the element type of any array of ours.
#[macro_export]
macro_rules! with_element {
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
            $crate::DType::I64 => {
                type $type = i64;
                $body
            }
            $crate::DType::U32 => {
                type $type = u32;
                $body
            }
            $crate::DType::U8 => {
                type $type = u8;
                $body
            }
            found => Err($crate::Error::Type {
                op: $op,
                found,
                expected: "f32, f64, bf16, f16, i64, u32 or u8",
            }),
        }
    };
}

/// The array in row-major order; copied (by all threads) only where it is not.
pub fn contiguous(array: &Array) -> Result<Array> {
    if array.is_contiguous() {
        return Ok(array.clone());
    }
    if !array.device().is_cpu() {
        return Ok(array.contiguous()?);
    }
    with_element!("contiguous", array.dtype(), T => {
        let mut output = unwritten::<T>(array.elem_count());
        read(array, |source: Source<'_, T>| {
            let chunk = source.chunk();
            output
                .par_chunks_mut(chunk)
                .enumerate()
                .for_each(|(index, output)| source.copy(index * chunk, output));
        })?;
        from_vec(output, array.shape())
    })
}

/// One array of `shape`, zero but for the `parts`: each fills the entries of `dim` from its start on.
/// Parts must fit and not overlap.
pub fn assemble(shape: &[usize], dim: usize, parts: &[(usize, Array)]) -> Result<Array> {
    let Some((_, first)) = parts.first() else {
        return Err(crate::Error::attribute("assemble", "nothing to assemble"));
    };
    let after: usize = shape[dim + 1..].iter().product();
    let slab = shape[dim] * after;
    let mut parts: Vec<(usize, Array)> = parts.to_vec();
    parts.sort_by_key(|(start, _)| *start);
    with_element!("assemble", first.dtype(), T => {
        let mut output = unwritten::<T>(shape.iter().product());
        let storages: Vec<_> = parts.iter().map(|(_, part)| part.storage_and_layout()).collect();
        let mut sources = Vec::with_capacity(parts.len());
        for ((start, part), (storage, layout)) in parts.iter().zip(&storages) {
            let source = Source::<T>::new(storage, layout)?;
            sources.push((start * after, part.dims()[dim] * after, source));
        }
        output.par_chunks_mut(CHUNK).enumerate().for_each(|(index, output)| {
            let (begin, end) = (index * CHUNK, index * CHUNK + output.len());
            output.fill(T::default());
            for outer in begin / slab..end.div_ceil(slab) {
                for (start, len, source) in &sources {
                    let base = outer * slab + start;
                    let (from, to) = (base.max(begin), (base + len).min(end));
                    if from < to {
                        source.copy(outer * len + from - base, &mut output[from - begin..to - begin]);
                    }
                }
            }
        });
        from_vec(output, shape)
    })
}

fn read<T: WithDType, R>(array: &Array, body: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
    let (storage, layout) = array.storage_and_layout();
    Ok(body(Source::new(&storage, layout)?))
}

/// A strided array as the sequence of its elements in row-major order. Neighbouring dimensions
/// that memory holds as one are merged.
struct Source<'a, T> {
    data: &'a [T],
    /// Outer dimensions as (size, stride).
    outer: Vec<(usize, usize)>,
    /// The last dimension as (size, stride).
    row: (usize, usize),
}

impl<'a, T: WithDType> Source<'a, T> {
    fn new(storage: &'a Storage, layout: &candle_core::Layout) -> Result<Self> {
        let Storage::Cpu(storage) = storage else {
            return Err(candle_core::Error::Msg("a CPU kernel got a device array".into()).into());
        };
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (size, stride) in layout.dims().iter().copied().zip(layout.stride().iter().copied()) {
            match merged.last_mut() {
                _ if size == 1 => {}
                Some(last) if last.1 == size * stride => *last = (last.0 * size, stride),
                _ => merged.push((size, stride)),
            }
        }
        let row = merged.pop().unwrap_or((1, 1));
        let data = T::cpu_storage_as_slice(storage)?;
        let data = &data[layout.start_offset().min(data.len())..];
        Ok(Self { data, outer: merged, row })
    }

    /// Elements per task: whole tiles of rows, so that a transposing copy reads whole cache lines.
    fn chunk(&self) -> usize {
        let tile = self.row.0.max(1) * self.outer.last().map_or(1, |(size, _)| (*size).min(TILE));
        CHUNK.next_multiple_of(tile.max(1))
    }

    /// Where row `row` begins, and how many rows follow it at the stride of the last outer dimension.
    fn row_start(&self, mut row: usize) -> (usize, usize) {
        let mut offset = 0;
        let mut rest = 1;
        for (depth, (size, stride)) in self.outer.iter().rev().enumerate() {
            let index = row % size;
            row /= size;
            offset += index * stride;
            if depth == 0 {
                rest = size - index;
            }
        }
        (offset, rest)
    }

    /// Fills `output` with the elements from position `from` on.
    fn copy(&self, from: usize, output: &mut [T]) {
        let (size, stride) = self.row;
        let (mut row, first) = (from / size, from % size);
        let mut output = output;
        if first > 0 {
            let len = (size - first).min(output.len());
            let (head, rest) = output.split_at_mut(len);
            self.copy_row(self.row_start(row).0 + first * stride, head);
            output = rest;
            row += 1;
        }
        let row_stride = self.outer.last().map_or(0, |(_, stride)| *stride);
        while !output.is_empty() {
            let (start, rest) = self.row_start(row);
            if output.len() < size {
                return self.copy_row(start, output);
            }
            let mut rows = rest.min(output.len() / size);
            if stride > row_stride && row_stride > 0 {
                rows = rows.min(TILE);
                let (tile, tail) = output.split_at_mut(rows * size);
                self.copy_tile(start, row_stride, tile);
                output = tail;
            } else {
                let (block, tail) = output.split_at_mut(rows * size);
                for (index, line) in block.chunks_exact_mut(size).enumerate() {
                    self.copy_row(start + index * row_stride, line);
                }
                output = tail;
            }
            row += rows;
        }
    }

    #[inline(always)]
    fn copy_row(&self, start: usize, output: &mut [T]) {
        match self.row.1 {
            1 => output.copy_from_slice(&self.data[start..start + output.len()]),
            0 => output.fill(self.data[start]),
            stride => {
                let source = self.data[start..].iter().step_by(stride);
                output.iter_mut().zip(source).for_each(|(slot, value)| *slot = *value);
            }
        }
    }

    /// Rows whose neighbours lie closer together in memory than a row's own elements.
    #[inline(always)]
    fn copy_tile(&self, start: usize, row_stride: usize, output: &mut [T]) {
        let (size, stride) = self.row;
        let rows = output.len() / size;
        for column in 0..size {
            let source = &self.data[start + column * stride..];
            for index in 0..rows {
                output[index * size + column] = source[index * row_stride];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    fn counted(shape: &[usize]) -> Array {
        let len: usize = shape.iter().product();
        Array::arange(0f32, len as f32, &Device::Cpu).unwrap().reshape(shape).unwrap()
    }

    fn flat(array: &Array) -> Vec<f32> {
        array.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn every_layout_is_read_in_order() {
        let x = counted(&[3, 40, 5, 33]);
        let mut arrays = vec![
            x.permute((0, 2, 1, 3)).unwrap(),
            x.permute((0, 3, 1, 2)).unwrap(),
            x.permute((0, 2, 3, 1)).unwrap(),
            x.permute((3, 2, 1, 0)).unwrap(),
            x.permute((1, 3, 0, 2)).unwrap(),
            x.narrow(3, 2, 20).unwrap().narrow(1, 7, 31).unwrap(),
            x.narrow(3, 2, 20).unwrap().permute((0, 3, 2, 1)).unwrap(),
            x.narrow(1, 3, 1).unwrap().broadcast_as((3, 40, 5, 33)).unwrap(),
            counted(&[2, 1]).broadcast_as((2, 700)).unwrap(),
            counted(&[700, 90]).t().unwrap(),
        ];
        arrays.push(arrays[1].narrow(2, 1, 3).unwrap());
        for array in arrays {
            for dtype in [DType::F32, DType::BF16, DType::I64, DType::U8] {
                let array = array.to_dtype(dtype).unwrap();
                let found = contiguous(&array).unwrap();
                assert!(found.is_contiguous());
                assert_eq!(
                    flat(&found),
                    flat(&array.contiguous().unwrap()),
                    "{:?}",
                    array.layout()
                );
            }
        }
        let empty = counted(&[4, 3]).narrow(1, 0, 0).unwrap().t().unwrap();
        assert_eq!(contiguous(&empty).unwrap().dims(), [0, 4]);
    }

    #[test]
    fn parts_fill_their_places_and_the_rest_is_zero() {
        for dim in 0..3 {
            let mut shape = [70, 30, 20];
            let x = counted(&shape);
            let parts: Vec<(usize, Array)> = [(9, 5), (0, 4), (4, 3)]
                .map(|(start, len)| (start, x.narrow(dim, start, len).unwrap()))
                .to_vec();
            let found = assemble(&shape, dim, &parts).unwrap();
            let gap = |len: usize| {
                shape[dim] = len;
                Array::zeros(shape.as_slice(), DType::F32, &Device::Cpu).unwrap()
            };
            let mut gap = gap;
            let rest = x.dims()[dim] - 14;
            let expected =
                Array::cat(&[&parts[1].1, &parts[2].1, &gap(2), &parts[0].1, &gap(rest)], dim);
            assert_eq!(flat(&found), flat(&expected.unwrap()));
        }
    }
}
