//! Layer normalisation (Ba, Kiros and Hinton, 2016).

use super::precision::{result_type, wide};
use crate::{Array, Error, Result, Tensor, tape};

/// (x - mean) / sqrt(var + eps) * weight + bias over the last dimension of x (.., C), with the
/// biased variance; `weight` and `bias` are (C). A half type under autocast becomes f32.
///
/// # Errors
/// x has no dimension, or `weight` or `bias` is not of its last one.
pub fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let array = x.array();
    let type_y = result_type("LayerNorm", array.dtype())?;
    let (scale, shift) = (weight.map(Tensor::array), bias.map(Tensor::array));
    let width = array.dims().last().copied();
    let fits = |of: &Option<Array>| {
        of.as_ref().is_none_or(|of| Some(of.dims()) == width.as_ref().map(std::slice::from_ref))
    };
    if width.is_none() || !fits(&scale) || !fits(&shift) {
        let dims = |of: &Option<Array>| of.as_ref().map(|of| of.dims().to_vec());
        return Err(Error::shape(
            "LayerNorm",
            format!("x {:?}, weight {:?}, bias {:?}", array.dims(), dims(&scale), dims(&shift)),
            "x (.., C), weight (C), bias (C)",
        ));
    }
    for of in [&scale, &shift].into_iter().flatten() {
        result_type("LayerNorm", of.dtype())?;
    }
    let inputs: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
    let needs = Needs {
        x: x.is_tracked(),
        weight: weight.is_some_and(Tensor::is_tracked),
        bias: bias.is_some_and(Tensor::is_tracked),
    };
    let (output, mean, rstd) = portable(&array, scale.as_ref(), shift.as_ref(), eps)?;
    Ok(tape::record("LayerNorm", &inputs, output.to_dtype(type_y)?, move |grad| {
        let [grad_x, grad_w, grad_b] =
            portable_backward(&array, &mean, &rstd, scale.as_ref(), grad, needs)?;
        let cast = |grad: Option<Array>, like: &Array| {
            grad.map(|grad| Ok::<_, Error>(grad.to_dtype(like.dtype())?)).transpose()
        };
        let mut grads = vec![cast(grad_x, &array)?];
        if let Some(scale) = &scale {
            grads.push(cast(grad_w, scale)?);
        }
        if let Some(shift) = &shift {
            grads.push(cast(grad_b, shift)?);
        }
        Ok(grads)
    }))
}

#[derive(Clone, Copy)]
struct Needs {
    x: bool,
    weight: bool,
    bias: bool,
}

/// y, and mean and 1 / sqrt(var + eps) per row (.., 1); all in f32 (f64 for f64).
fn portable(
    x: &Array,
    scale: Option<&Array>,
    shift: Option<&Array>,
    eps: f64,
) -> Result<(Array, Array, Array)> {
    let x = wide(x)?;
    let last = x.rank() - 1;
    let mean = x.mean_keepdim(last)?;
    let centred = x.broadcast_sub(&mean)?;
    let rstd = (centred.sqr()?.mean_keepdim(last)? + eps)?.sqrt()?.recip()?;
    let mut y = centred.broadcast_mul(&rstd)?;
    if let Some(scale) = scale {
        y = y.broadcast_mul(&scale.to_dtype(y.dtype())?)?;
    }
    if let Some(shift) = shift {
        y = y.broadcast_add(&shift.to_dtype(y.dtype())?)?;
    }
    Ok((y, mean, rstd))
}

/// With u = grad * weight and n = (x - mean) rstd:
/// dx = rstd (u - mean(u) - n mean(u n)), dweight = sum(grad n), dbias = sum(grad).
fn portable_backward(
    x: &Array,
    mean: &Array,
    rstd: &Array,
    scale: Option<&Array>,
    grad: &Array,
    needs: Needs,
) -> Result<[Option<Array>; 3]> {
    let (x, grad) = (wide(x)?, wide(grad)?);
    let last = x.rank() - 1;
    let rows: Vec<usize> = (0..last).collect();
    let normal = x.broadcast_sub(mean)?.broadcast_mul(rstd)?;
    let grad_x = || -> Result<Array> {
        let u = match scale {
            Some(scale) => grad.broadcast_mul(&scale.to_dtype(grad.dtype())?)?,
            None => grad.clone(),
        };
        let along = (&u * &normal)?.mean_keepdim(last)?;
        let rest = u.broadcast_sub(&u.mean_keepdim(last)?)?;
        Ok((rest - normal.broadcast_mul(&along)?)?.broadcast_mul(rstd)?)
    };
    let sum = |of: &Array| -> Result<Array> {
        if rows.is_empty() { Ok(of.clone()) } else { Ok(of.sum(rows.as_slice())?) }
    };
    Ok([
        needs.x.then(grad_x).transpose()?,
        needs.weight.then(|| sum(&(&grad * &normal)?)).transpose()?,
        needs.bias.then(|| sum(&grad)).transpose()?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 5], &[5], &[5]]), |x| {
            layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-6)
        });
        check(Case::of(&[&[4, 37], &[37]]), |x| layer_norm(&x[0], Some(&x[1]), None, 1e-5));
        check(Case::of(&[&[2, 2, 2, 6]]), |x| layer_norm(&x[0], None, None, 1e-5));
        check(Case::of(&[&[6], &[6], &[6]]), |x| layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-6));
    }

    #[test]
    fn a_large_common_offset_does_not_cost_precision() {
        let x: Vec<f32> = (0..64).map(|i| 10_000.0 + (i % 4) as f32).collect();
        let x = Tensor::constant(Array::from_vec(x, (2, 32), &Device::Cpu).unwrap());
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let y = layer_norm(&x, None, None, 0.0).unwrap().array();
                let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let expected = 1.5 / 1.25f32.sqrt();
                assert!((y[0] + expected).abs() < 1e-3, "{} for {}", y[0], -expected);
                assert!((y[3] - expected).abs() < 1e-3, "{} for {expected}", y[3]);
            });
        }
    }

    #[test]
    fn autocast_answers_in_f32() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::BF16, &Device::Cpu).unwrap());
        let autocast = Mode { autocast: true, ..current() };
        let y = scope(autocast, || layer_norm(&x, None, None, 1e-6).unwrap());
        assert_eq!(y.dtype(), DType::F32);
    }

    #[test]
    fn a_weight_of_another_width_is_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let message = layer_norm(&zeros(&[2, 3]), Some(&zeros(&[4])), None, 1e-6).unwrap_err();
        assert!(message.to_string().contains("weight Some([4])"), "{message}");
        assert!(layer_norm(&zeros(&[]), None, None, 1e-6).is_err());
    }
}
