//! Sorting of the last dimension.

use super::broadcast::float;
use crate::cpu::{self, Elements, from_vec};
use crate::{Array, Device, Error, Result, Tensor, tape, with_real};

/// The last dimension in order. Outputs: values and indices (i64). Equal values keep their order;
/// NaN counts as the largest. Other devices hand the work to the CPU: theirs is not stable.
///
/// # Errors
/// x has no dimension, or its elements are integers.
pub fn sort(x: &Tensor, descending: bool) -> Result<Vec<Tensor>> {
    let array = x.array();
    let len = *array.dims().last().unwrap_or(&0);
    first("Sort", x, &array, len, descending)
}

/// The first `count` elements of the last dimension in order, and the gradient of the values.
pub(super) fn first(
    op: &'static str,
    x: &Tensor,
    array: &Array,
    count: usize,
    descending: bool,
) -> Result<Vec<Tensor>> {
    float(op, array)?;
    if array.rank() == 0 {
        return Err(Error::shape(op, "[]", "at least one dimension"));
    }
    let host = array.to_device(&Device::Cpu)?;
    let (values, indices) = with_real!(op, host.dtype(), T => {
        cpu::first_in_order::<T>(&host, count, descending)
    })?;
    let (values, indices) = (values.to_device(array.device())?, indices.to_device(array.device())?);
    let (shape, saved) = (array.dims().to_vec(), indices.clone());
    let mut outputs = tape::record_many(op, &[x], vec![values, indices], move |grads| {
        let grad = grads[0].as_ref().map(|grad| put_back(op, grad, &saved, &shape));
        Ok(vec![grad.transpose()?])
    });
    // Indices are numbers without a gradient.
    outputs[1] = Tensor::constant(outputs[1].array());
    Ok(outputs)
}

/// Zeros of `shape` with each gradient at its index in the last dimension; indices do not repeat.
fn put_back(op: &'static str, grad: &Array, indices: &Array, shape: &[usize]) -> Result<Array> {
    let last = shape.len() - 1;
    if !cpu::is_native(grad) {
        let zeros = Array::zeros(shape, grad.dtype(), grad.device())?;
        return Ok(zeros.scatter_add(indices, &grad.contiguous()?, last)?);
    }
    let (len, count) = (shape[last], grad.dims()[last]);
    with_real!(op, grad.dtype(), T => {
        let mut output = vec![T::default(); shape.iter().product()];
        let (grad, indices) = (Elements::of(grad)?, Elements::of(indices)?);
        grad.read(|grad: &[T]| {
            indices.read(|indices: &[i64]| {
                cpu::for_each_row_mut(&mut output, len, |row, output| {
                    let of = row * count..(row + 1) * count;
                    for (grad, index) in grad[of.clone()].iter().zip(&indices[of]) {
                        output[*index as usize] = *grad;
                    }
                });
            })
        })??;
        from_vec(output, shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        // bf16 makes ties of values that f64 tells apart.
        let case = || Case::of(&[&[2, 3, 7]]).without_bf16();
        check(case(), |x| Ok(sort(&x[0], false)?.remove(0)));
        check(case(), |x| Ok(sort(&x[0], true)?.remove(0)));
    }

    #[test]
    fn every_type_is_sorted_and_differentiated() {
        for (portable, dtype) in [DType::F32, DType::F64, DType::BF16, DType::F16]
            .into_iter()
            .flat_map(|dtype| [(false, dtype), (true, dtype)])
        {
            scope(Mode { portable, ..current() }, || {
                let x = Array::new(&[[3f32, 1.0, 2.0, 1.0]], &Device::Cpu).unwrap();
                let x = tape::input(x.to_dtype(dtype).unwrap());
                let outputs = sort(&x, false).unwrap();
                assert_eq!(outputs[1].array().to_vec2::<i64>().unwrap(), [[1, 3, 2, 0]]);
                let grad = Array::new(&[[1f32, 2.0, 3.0, 4.0]], &Device::Cpu).unwrap();
                let roots = [(outputs[0].clone(), grad.to_dtype(dtype).unwrap())];
                let grads = tape::backward_from(&roots, &[x], &mut Default::default()).unwrap();
                let grad = grads[0].as_ref().unwrap().to_dtype(DType::F32).unwrap();
                assert_eq!(grad.to_vec2::<f32>().unwrap(), [[4.0, 1.0, 3.0, 2.0]]);
            });
        }
    }

    #[test]
    fn a_scalar_has_no_order() {
        let x = Tensor::constant(Array::new(1f32, &Device::Cpu).unwrap());
        let message = sort(&x, false).unwrap_err().to_string();
        assert_eq!(message, "Sort: []; expected at least one dimension");
        let empty = Tensor::constant(Array::zeros((2, 0), DType::F32, &Device::Cpu).unwrap());
        assert_eq!(sort(&empty, true).unwrap()[1].dims(), [2, 0]);
    }
}
