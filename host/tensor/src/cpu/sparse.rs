//! Small sparse matrices applied along one dimension.

use rayon::prelude::*;

use super::{Acc, Elements, Real, from_vec, vectorized};
use crate::ops::shape::split;
use crate::{Array, Device, Result};

/// A matrix as its entries other than 0, by rows.
#[derive(Clone, Debug)]
pub struct Sparse {
    rows: Vec<Vec<(usize, f64)>>,
    columns: usize,
}

impl Sparse {
    /// From the (column, weight) pairs of each row; pairs of one column add up.
    pub fn new(rows: impl IntoIterator<Item = Vec<(usize, f64)>>, columns: usize) -> Self {
        let merge = |pairs: Vec<(usize, f64)>| {
            let mut row: Vec<(usize, f64)> = Vec::with_capacity(pairs.len());
            for (column, weight) in pairs {
                match row.iter_mut().find(|(known, _)| *known == column) {
                    Some((_, sum)) => *sum += weight,
                    None => row.push((column, weight)),
                }
            }
            row.retain(|(_, weight)| *weight != 0.0);
            row
        };
        Self { rows: rows.into_iter().map(merge).collect(), columns }
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.columns];
        for (index, row) in self.rows.iter().enumerate() {
            for (column, weight) in row {
                rows[*column].push((index, *weight));
            }
        }
        Self { rows, columns: self.rows.len() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether it leaves what it is applied to as it is.
    pub fn is_identity(&self) -> bool {
        self.rows.len() == self.columns
            && self.rows.iter().enumerate().all(|(index, row)| **row == [(index, 1.0)])
    }

    /// All entries, f64.
    pub fn dense(&self, device: &Device) -> Result<Array> {
        let mut entries = vec![0f64; self.rows.len() * self.columns];
        for (index, row) in self.rows.iter().enumerate() {
            row.iter()
                .for_each(|(column, weight)| entries[index * self.columns + column] = *weight);
        }
        Ok(Array::from_vec(entries, (self.rows.len(), self.columns), device)?)
    }

    /// y\[.., i, ..\] = sum_j a_ij x\[.., j, ..\] over dimension `dim`, in the accumulator's type.
    pub fn apply<I: Real, O: Real<Acc = I::Acc>>(&self, x: &Array, dim: usize) -> Result<Array> {
        let (outer, size, inner) = split(x.dims(), dim);
        debug_assert_eq!(size, self.columns);
        let mut shape = x.dims().to_vec();
        shape[dim] = self.rows.len();
        let mut output = super::unwritten::<O>(outer * self.rows.len() * inner);
        if output.is_empty() {
            return from_vec(output, shape);
        }
        let rows: Vec<Vec<(usize, I::Acc)>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|(j, weight)| (j * inner, I::Acc::of(*weight))).collect())
            .collect();
        Elements::of(x)?.read(|x: &[I]| {
            let per_task = super::grain(inner);
            let run = |(task, output): (usize, &mut [O])| {
                let mut sums = vec![I::Acc::ZERO; STRETCH.min(inner)];
                vectorized(
                    #[inline(always)]
                    || {
                        for (index, output) in output.chunks_mut(inner).enumerate() {
                            let row = task * per_task + index;
                            let x = &x[row / rows.len() * size * inner..][..size * inner];
                            combine(&rows[row % rows.len()], x, output, &mut sums);
                        }
                    },
                );
            };
            output.par_chunks_mut(per_task * inner).enumerate().for_each(run);
        })?;
        from_vec(output, shape)
    }
}

/// Elements whose sums stay in the nearest cache.
const STRETCH: usize = 1024;

/// output = sum of weight * x\[start..\] over the pairs (start, weight).
#[inline(always)]
fn combine<I: Real, O: Real<Acc = I::Acc>>(
    pairs: &[(usize, I::Acc)],
    x: &[I],
    output: &mut [O],
    sums: &mut [I::Acc],
) {
    if let [(start, weight)] = pairs
        && *weight == I::Acc::ONE
        && I::DTYPE == O::DTYPE
    {
        let x = &x[*start..*start + output.len()];
        output.iter_mut().zip(x).for_each(|(output, x)| *output = O::round(x.acc()));
        return;
    }
    for (stretch, output) in output.chunks_mut(STRETCH).enumerate() {
        let sums = &mut sums[..output.len()];
        sums.fill(I::Acc::ZERO);
        for (start, weight) in pairs {
            let x = &x[start + stretch * STRETCH..][..sums.len()];
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x.acc() * *weight);
        }
        output.iter_mut().zip(&*sums).for_each(|(slot, sum)| *slot = O::round(*sum));
    }
}
