//! Conversions between float types, threaded.

use rayon::prelude::*;

use super::{Elements, Real, from_vec, is_native, unwritten, vectorized};
use crate::{Array, DType, Result};

/// The array as `dtype`, by all threads where both are f32 or shorter floats in CPU memory.
pub fn convert(array: &Array, dtype: DType) -> Result<Array> {
    use half::{bf16, f16};
    if !is_native(array) {
        return Ok(array.to_dtype(dtype)?);
    }
    match (array.dtype(), dtype) {
        (from, to) if from == to => Ok(array.clone()),
        (DType::F32, DType::BF16) => run::<f32, bf16>(array),
        (DType::F32, DType::F16) => run::<f32, f16>(array),
        (DType::BF16, DType::F32) => run::<bf16, f32>(array),
        (DType::F16, DType::F32) => run::<f16, f32>(array),
        (DType::BF16, DType::F16) => run::<bf16, f16>(array),
        (DType::F16, DType::BF16) => run::<f16, bf16>(array),
        _ => Ok(super::contiguous(array)?.to_dtype(dtype)?),
    }
}

/// [`convert`] as a method, in the place of candle's, which has one thread.
pub trait Cast {
    /// The array as `dtype`.
    fn cast(&self, dtype: DType) -> Result<Array>;
}

impl Cast for Array {
    fn cast(&self, dtype: DType) -> Result<Array> {
        convert(self, dtype)
    }
}

fn run<A: Real<Acc = f32>, B: Real<Acc = f32>>(array: &Array) -> Result<Array> {
    const CHUNK: usize = 16_384;
    // Fewer are done before another thread is awake.
    const ALONE: usize = 65_536;
    let mut output = unwritten::<B>(array.elem_count());
    let part = |(output, input): (&mut [B], &[A])| {
        vectorized(
            #[inline(always)]
            || {
                for (output, input) in output.iter_mut().zip(input) {
                    *output = B::round(input.acc());
                }
            },
        );
    };
    Elements::of(array)?.read(|input: &[A]| {
        if input.len() <= ALONE {
            part((&mut output, input));
        } else {
            output.par_chunks_mut(CHUNK).zip(input.par_chunks(CHUNK)).for_each(part);
        }
    })?;
    from_vec(output, array.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn conversions_are_candles() {
        let values: Vec<f32> = (0..40_000).map(|i| (i as f32 - 2e4).powi(3) * 1e-4).collect();
        let x = Array::from_vec(values, (200, 200), &Device::Cpu).unwrap().t().unwrap();
        for from in [DType::F32, DType::BF16, DType::F16, DType::F64] {
            let x = x.to_dtype(from).unwrap();
            for to in [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I64] {
                let flat = |x: Array| {
                    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
                };
                let found = convert(&x, to).unwrap();
                assert_eq!(found.dtype(), to);
                assert_eq!(flat(found), flat(x.to_dtype(to).unwrap()), "{from:?} to {to:?}");
            }
        }
    }
}
