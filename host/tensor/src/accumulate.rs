//! The gradient of one value while contributions to it arrive.

use candle_core::{CpuStorage, InplaceOp2, Layout, WithDType};
use rayon::prelude::*;

use crate::{Array, Result, cpu, with_real};

/// What one use of a value adds to the value's gradient.
pub(crate) enum Contribution {
    /// A gradient of the value's own shape.
    Whole(Array),
    /// The gradient of a slice of the value; zero elsewhere.
    Slice(Place, Array),
}

/// A slice of a value, and how the value lies in memory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Shape of the value.
    pub shape: Vec<usize>,
    /// Dimensions of the value from the slowest to the fastest in memory, which its gradient
    /// follows: what undoes the permutation then finds a row-major array.
    pub order: Vec<usize>,
    /// The dimension that is cut.
    pub dim: usize,
    /// First entry of the slice.
    pub start: usize,
}

impl Place {
    pub(crate) fn of(array: &Array, dim: usize, start: usize) -> Self {
        let mut order: Vec<usize> = (0..array.rank()).collect();
        order.sort_by_key(|axis| std::cmp::Reverse(array.stride()[*axis]));
        Self { shape: array.dims().to_vec(), order, dim, start }
    }
}

/// Contributions so far. Slices wait until all have come: those that do not overlap (the parts of
/// a split) become one array in one pass, without buffers of zeros to be added up.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    whole: Option<Array>,
    /// `whole` was made here and nobody else holds it, so it may be added to in place.
    owned: bool,
    slices: Vec<(Place, Array)>,
}

impl Sum {
    pub(crate) fn add(&mut self, contribution: Contribution) -> Result<()> {
        match contribution {
            Contribution::Slice(place, array) => self.slices.push((place, array)),
            Contribution::Whole(array) => self.add_whole(array)?,
        }
        Ok(())
    }

    fn add_whole(&mut self, array: Array) -> Result<()> {
        match &mut self.whole {
            None => self.whole = Some(array),
            Some(sum) if self.owned && can_add_in_place(sum, &array) => {
                sum.inplace_op2(&array, &AddAssign)?;
            }
            Some(sum) => {
                *sum = add(sum, &array)?;
                self.owned = true;
            }
        }
        Ok(())
    }

    /// The sum of all contributions.
    pub(crate) fn finish(mut self) -> Result<Option<Array>> {
        while !self.slices.is_empty() {
            let dim = self.slices[0].0.dim;
            let mut layer: Vec<(Place, Array)> = Vec::new();
            let mut rest = Vec::new();
            for (place, array) in self.slices {
                let end = place.start + array.dims()[dim];
                let overlaps = layer.iter().any(|(other, array)| {
                    place.start < other.start + array.dims()[dim] && other.start < end
                });
                if place.dim == dim && !overlaps { &mut layer } else { &mut rest }
                    .push((place, array));
            }
            self.slices = rest;
            let assembled = assemble(layer)?;
            let fresh = self.whole.is_none();
            self.add_whole(assembled)?;
            self.owned |= fresh;
        }
        Ok(self.whole)
    }
}

/// The array that is zero but for slices along one dimension that do not overlap.
fn assemble(mut slices: Vec<(Place, Array)>) -> Result<Array> {
    slices.sort_by_key(|(place, _)| place.start);
    let Place { shape, order, dim, .. } = slices[0].0.clone();
    if !cpu::is_native(&slices[0].1) {
        return join(&shape, dim, &slices);
    }
    let sizes: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let axis = order.iter().position(|axis| *axis == dim).expect("the order holds every dimension");
    let parts = slices
        .into_iter()
        .map(|(place, array)| Ok((place.start, array.permute(order.as_slice())?)))
        .collect::<Result<Vec<_>>>()?;
    let joined = cpu::copy::assemble(&sizes, axis, &parts)?;
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(position, axis)| back[*axis] = position);
    Ok(joined.permute(back)?)
}

/// [`assemble`] by candle's operations.
fn join(shape: &[usize], dim: usize, slices: &[(Place, Array)]) -> Result<Array> {
    let first = &slices[0].1;
    let gap = |len: usize| {
        let mut shape = shape.to_vec();
        shape[dim] = len;
        Array::zeros(shape, first.dtype(), first.device())
    };
    let mut parts = Vec::new();
    let mut end = 0;
    for (place, array) in slices {
        if place.start > end {
            parts.push(gap(place.start - end)?);
        }
        parts.push(array.contiguous()?);
        end = place.start + array.dims()[dim];
    }
    if end < shape[dim] {
        parts.push(gap(shape[dim] - end)?);
    }
    Ok(Array::cat(&parts, dim)?)
}

/// a + b.
pub(crate) fn add(a: &Array, b: &Array) -> Result<Array> {
    if !cpu::is_native(a) || a.dtype() != b.dtype() || a.dims() != b.dims() {
        return Ok((a + b)?);
    }
    with_real!("backward", a.dtype(), T => cpu::zip_map::<T>(a, b, #[inline(always)] |a, b| a + b))
}

fn can_add_in_place(sum: &Array, array: &Array) -> bool {
    cpu::is_native(sum)
        && sum.is_contiguous()
        && array.is_contiguous()
        && sum.dtype() == array.dtype()
        && sum.dims() == array.dims()
        && sum.dtype().is_float()
}

/// Adds the second array to the first; both are row-major floats of one shape in CPU memory.
struct AddAssign;

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add-assign"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        array: &CpuStorage,
        array_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (len, start) = (sum_layout.shape().elem_count(), sum_layout.start_offset());
        let sum = (sum, start..start + len);
        let start = array_layout.start_offset();
        let array = (array, start..start + len);
        match (sum, array) {
            ((CpuStorage::F32(sum), s), (CpuStorage::F32(x), r)) => add_assign(&mut sum[s], &x[r]),
            ((CpuStorage::F64(sum), s), (CpuStorage::F64(x), r)) => add_assign(&mut sum[s], &x[r]),
            ((CpuStorage::BF16(sum), s), (CpuStorage::BF16(x), r)) => {
                add_assign(&mut sum[s], &x[r])
            }
            ((CpuStorage::F16(sum), s), (CpuStorage::F16(x), r)) => add_assign(&mut sum[s], &x[r]),
            _ => candle_core::bail!("add-assign: two types"),
        }
        Ok(())
    }
}

fn add_assign<T: WithDType>(sum: &mut [T], array: &[T]) {
    const CHUNK: usize = 16_384;
    sum.par_chunks_mut(CHUNK).zip(array.par_chunks(CHUNK)).for_each(|(sum, array)| {
        cpu::vectorized(
            #[inline(always)]
            || sum.iter_mut().zip(array).for_each(|(sum, x)| *sum += *x),
        );
    });
}
