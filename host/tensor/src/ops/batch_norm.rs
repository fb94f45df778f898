//! Batch normalisation (Ioffe and Szegedy, 2015).

use super::per_channel::{affine, combine, moments, products, vector};
use super::precision::check_float;
use crate::cpu::Cast;
use crate::{Error, Result, Tensor, tape};

/// (x - mean) / sqrt(var + eps) weight + bias per channel of x (.., C).
///
/// With `training` mean and biased variance are the batch's, and two more outputs are the running
/// statistics moved towards them: (1 - momentum) running + momentum new, the variance unbiased.
/// Otherwise they are the running statistics. Half inputs stay half under autocast, as convolutions on
/// both sides have them; statistics and sums are in f32.
///
/// # Errors
/// A vector has not C elements, x has fewer than two dimensions or no element, or `training` got a
/// single row, whose variance says nothing.
#[allow(clippy::too_many_arguments, reason = "the operation has as many inputs and attributes")]
pub fn batch_norm(
    x: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    momentum: f64,
    training: bool,
) -> Result<Vec<Tensor>> {
    const OP: &str = "BatchNorm";
    let array = x.array();
    let (shape, type_x) = (array.dims().to_vec(), array.dtype());
    let channels = match shape.as_slice() {
        [_, .., channels] if array.elem_count() > 0 => *channels,
        _ => return Err(Error::shape(OP, format!("{shape:?}"), "(.., C), none of them 0")),
    };
    let count = array.elem_count() / channels;
    check_float(OP, type_x)?;
    let array = array.reshape((1, count, channels))?;
    let running_mean = (running_mean.dtype(), vector(OP, "mean", running_mean, &array, channels)?);
    let running_var = (running_var.dtype(), vector(OP, "variance", running_var, &array, channels)?);
    let scale = weight.map(|w| vector(OP, "weight", w, &array, channels)).transpose()?;
    let shift = bias.map(|b| vector(OP, "bias", b, &array, channels)).transpose()?;

    let mut updated = Vec::new();
    let (mean, variance) = if training {
        if count < 2 {
            let expected = "at least 2 values per channel in training";
            return Err(Error::shape(OP, format!("{shape:?}"), expected));
        }
        let (mean, square) = moments(&array)?;
        let unbiased = (&square / (count as f64 - 1.0))?;
        for ((dtype, old), new) in [(running_mean, &mean), (running_var, &unbiased)] {
            let moved = ((old * (1.0 - momentum))? + (new * momentum)?)?;
            updated.push(Tensor::constant(moved.reshape(channels)?.cast(dtype)?));
        }
        (mean, (square / count as f64)?)
    } else {
        (running_mean.1, running_var.1)
    };
    let inverse = (variance + eps)?.sqrt()?.recip()?;
    let scale = match &scale {
        Some(scale) => (&inverse * scale)?,
        None => inverse.clone(),
    };
    let shift = shift.map_or_else(|| mean.zeros_like(), Ok)?;
    let output = affine(&array, &mean, &scale, &shift)?.reshape(shape.as_slice())?;

    let needs = x.is_tracked();
    let tracked = |tensor: Option<&Tensor>| tensor.filter(|t| t.is_tracked()).map(Tensor::dtype);
    let (type_w, type_b) = (tracked(weight), tracked(bias));
    // A bias without a weight would take the weight's place among the inputs.
    let places = (weight.is_some(), bias.is_some());
    let inputs: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
    let output = tape::record(OP, &inputs, output, move |grad| {
        let grad = grad.cast(array.dtype())?.reshape(array.shape())?;
        let sums = if training || type_w.is_some() || type_b.is_some() {
            Some(products(&array, &grad, &mean)?)
        } else {
            None
        };
        let grad_x = if !needs {
            None
        } else if let Some((sum, product)) = sums.as_ref().filter(|_| training) {
            let factor = (&scale * (-1.0 / count as f64))?;
            let slope = ((&factor * inverse.sqr()?)? * product)?;
            let constant = (factor * sum)?;
            Some(combine(&array, &grad, &mean, [&scale, &slope, &constant])?)
        } else {
            let zero = mean.zeros_like()?;
            Some(affine(&grad, &zero, &scale, &zero)?)
        };
        let grad_x = grad_x.map(|grad| grad.reshape(shape)?.cast(type_x)).transpose()?;
        let (sum, product) = sums.unzip();
        let flat = |grad: crate::Array, dtype| grad.reshape(channels)?.cast(dtype);
        let grad_w = type_w
            .zip(product)
            .map(|(dtype, product)| flat((product * &inverse)?, dtype))
            .transpose()?;
        let grad_b = type_b.zip(sum).map(|(dtype, sum)| flat(sum, dtype)).transpose()?;
        let mut grads = vec![grad_x];
        grads.extend(places.0.then_some(grad_w));
        grads.extend(places.1.then_some(grad_b));
        Ok(grads)
    });
    Ok([vec![output], updated].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check, here};
    use crate::mode::{Mode, current, scope};
    use crate::{Array, DType, Device};

    fn constant(values: &[f64], dtype: DType) -> Tensor {
        let array = Array::new(values, &Device::Cpu).unwrap();
        Tensor::constant(array.to_dtype(dtype).unwrap())
    }

    #[test]
    fn gradient() {
        for training in [true, false] {
            let norm = |x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>| {
                let channels = x.dims()[x.dims().len() - 1];
                let vector = |values: [f64; 3]| {
                    let values = values.into_iter().cycle().take(channels);
                    here(&constant(&values.collect::<Vec<_>>(), x.dtype()))
                };
                let (mean, var) = (vector([0.2, -0.4, 0.1]), vector([0.5, 1.0, 2.0]));
                Ok(batch_norm(x, &mean, &var, w, b, 1e-5, 0.1, training)?.remove(0))
            };
            check(Case::of(&[&[2, 2, 3, 3], &[3], &[3]]), |x| {
                norm(&x[0], Some(&x[1]), Some(&x[2]))
            });
            check(Case::of(&[&[4, 3], &[3]]), |x| norm(&x[0], Some(&x[1]), None));
            check(Case::of(&[&[5, 3]]), |x| norm(&x[0], None, None));
            // More rows than a part of the CUDA kernel's sums has, more channels than a block.
            check(Case::of(&[&[66, 3], &[3], &[3]]), |x| norm(&x[0], Some(&x[1]), Some(&x[2])));
            check(Case::of(&[&[3, 34], &[34], &[34]]), |x| norm(&x[0], Some(&x[1]), Some(&x[2])));
        }
    }

    #[test]
    fn running_statistics_move_by_the_momentum() {
        let x = Tensor::constant(Array::new(&[[1f32, 2.0], [3.0, 6.0]], &Device::Cpu).unwrap());
        let mean = constant(&[0.0, 10.0], DType::F32);
        let var = constant(&[1.0, 1.0], DType::F32);
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let outputs = batch_norm(&x, &mean, &var, None, None, 0.0, 0.25, true).unwrap();
                let values = |i: usize| outputs[i].array().to_vec1::<f32>().unwrap();
                assert_eq!(values(1), [0.5, 8.5]);
                assert_eq!(values(2), [0.75 + 0.5, 0.75 + 2.0]);
                let outputs = batch_norm(&x, &mean, &var, None, None, 0.0, 0.25, false).unwrap();
                assert_eq!(outputs.len(), 1, "nothing moves outside training");
            });
        }
    }

    #[test]
    fn autocast_keeps_bf16_and_gives_its_gradient_in_bf16() {
        let x = crate::gate::noise((4, 2));
        let x = tape::input(x.to_dtype(DType::BF16).unwrap());
        let (mean, var) = (constant(&[0.0, 0.0], DType::F32), constant(&[1.0, 1.0], DType::F32));
        scope(Mode { autocast: true, ..current() }, || {
            let y = batch_norm(&x, &mean, &var, None, None, 1e-5, 0.1, true).unwrap().remove(0);
            assert_eq!(y.dtype(), DType::BF16);
            let roots = [(y.clone(), y.array().ones_like().unwrap())];
            let leaves = [x];
            let grads = tape::backward_from(&roots, &leaves, &mut Default::default()).unwrap();
            assert_eq!(grads[0].as_ref().unwrap().dtype(), DType::BF16);
        });
    }

    #[test]
    fn misfits_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let refuse = |x: &[usize], statistics: &[usize]| {
            let (x, s) = (zeros(x), zeros(statistics));
            batch_norm(&x, &s, &s, None, None, 1e-5, 0.1, true).unwrap_err().to_string()
        };
        assert!(refuse(&[1, 3], &[3]).contains("[1, 3]; expected at least 2 values per channel"));
        assert!(refuse(&[4, 3], &[2]).contains("mean [2]; expected [3]"));
        assert!(refuse(&[3], &[3]).contains("[3]; expected (.., C)"));
    }
}
