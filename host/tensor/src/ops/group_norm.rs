//! Group normalisation (Wu and He, 2018).

use super::per_channel::{affine, combine, moments, products, vector};
use super::precision::result_type;
use crate::cpu::Cast;
use crate::{Array, Error, Result, Tensor, tape};

/// (x - mean) / sqrt(var + eps) weight + bias of x (B, .., C), with the mean and biased variance of
/// each sample over all positions and the C / `groups` channels of a group. Under autocast half
/// inputs are computed and returned in f32.
///
/// # Errors
/// `groups` does not divide C, a vector has not C elements, or x has fewer than two dimensions or
/// no element.
pub fn group_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    groups: usize,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "GroupNorm";
    let array = x.array();
    let (shape, type_x) = (array.dims().to_vec(), array.dtype());
    let (batch, channels) = match shape.as_slice() {
        [batch, .., channels] if array.elem_count() > 0 => (*batch, *channels),
        _ => return Err(Error::shape(OP, format!("{shape:?}"), "(B, .., C), none of them 0")),
    };
    if groups == 0 || channels % groups != 0 {
        return Err(Error::attribute(
            OP,
            format!("groups {groups}; expected a divisor of the {channels} channels"),
        ));
    }
    let rows = array.elem_count() / (batch * channels);
    let size = (rows * channels / groups) as f64;
    let array = array.cast(result_type(OP, array.dtype())?)?.reshape((batch, rows, channels))?;
    let gain = weight.map(|w| vector(OP, "weight", w, &array, channels)).transpose()?;
    let shift = bias.map(|b| vector(OP, "bias", b, &array, channels)).transpose()?;

    let grouped = move |x: &Array| x.reshape((batch, groups, channels / groups));
    // The value of each group at each of its channels.
    let spread = move |x: Array| {
        x.broadcast_as((batch, groups, channels / groups))?.contiguous()?.reshape((batch, channels))
    };
    let (means, squares) = moments(&array)?;
    let means = grouped(&means)?;
    let mean = means.mean_keepdim(2)?;
    // A channel's deviations from the mean of its group are those from its own mean, and that mean's.
    let between = (means.broadcast_sub(&mean)?.sqr()?.sum_keepdim(2)? * rows as f64)?;
    let variance = ((grouped(&squares)?.sum_keepdim(2)? + between)? / size)?;
    let (mean, inverse) = (spread(mean)?, spread((variance + eps)?.sqrt()?.recip()?)?);
    let scale = match &gain {
        Some(gain) => inverse.broadcast_mul(gain)?,
        None => inverse.clone(),
    };
    let shift = match shift {
        Some(shift) => shift.broadcast_as((batch, channels))?.contiguous()?,
        None => mean.zeros_like()?,
    };
    let output = affine(&array, &mean, &scale, &shift)?.reshape(shape.as_slice())?;

    let needs = x.is_tracked();
    let tracked = |tensor: Option<&Tensor>| tensor.filter(|t| t.is_tracked()).map(Tensor::dtype);
    let (type_w, type_b) = (tracked(weight), tracked(bias));
    let places = (weight.is_some(), bias.is_some());
    let inputs: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
    Ok(tape::record(OP, &inputs, output, move |grad| {
        let grad = grad.cast(array.dtype())?.reshape(array.shape())?;
        let (sum, product) = products(&array, &grad, &mean)?;
        let product = (product * &inverse)?;
        let grad_x = if needs {
            let mean_of = |x: &Array| {
                let x = gain.as_ref().map_or(Ok(x.clone()), |gain| x.broadcast_mul(gain))?;
                spread((grouped(&x)?.sum_keepdim(2)? * (-1.0 / size))?)
            };
            let slope = (inverse.sqr()? * mean_of(&product)?)?;
            let constant = (&inverse * mean_of(&sum)?)?;
            let grad = combine(&array, &grad, &mean, [&scale, &slope, &constant])?;
            Some(grad.reshape(shape)?.cast(type_x)?)
        } else {
            None
        };
        let grad_w = type_w.map(|dtype| product.sum(0)?.cast(dtype)).transpose()?;
        let grad_b = type_b.map(|dtype| sum.sum(0)?.cast(dtype)).transpose()?;
        let mut grads = vec![grad_x];
        grads.extend(places.0.then_some(grad_w));
        grads.extend(places.1.then_some(grad_b));
        Ok(grads)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        for groups in [1, 2, 4] {
            check(Case::of(&[&[2, 3, 2, 4], &[4], &[4]]), |x| {
                group_norm(&x[0], Some(&x[1]), Some(&x[2]), groups, 1e-5)
            });
        }
        check(Case::of(&[&[3, 6]]), |x| group_norm(&x[0], None, None, 2, 1e-5));
        check(Case::of(&[&[2, 5, 2], &[2]]), |x| group_norm(&x[0], Some(&x[1]), None, 1, 1e-5));
    }

    #[test]
    fn misfits_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let error = group_norm(&zeros(&[2, 3, 6]), None, None, 4, 1e-5).unwrap_err().to_string();
        assert!(error.contains("groups 4; expected a divisor of the 6 channels"), "{error}");
        let error = group_norm(&zeros(&[2, 3, 6]), Some(&zeros(&[3])), None, 2, 1e-5);
        assert!(error.unwrap_err().to_string().contains("weight [3]; expected [6]"));
    }
}
