//! Weight normalisation (Salimans and Kingma, 2016): direction and length of each row apart.

use super::precision::{result_type, wide};
use crate::{Array, Error, Result, Tensor, tape};

/// Rows g_k v_k / ||v_k||_2 of v (K, ..) and g, (K) or (K, 1, ..): (K, ..). A half type under
/// autocast becomes f32.
///
/// # Errors
/// The shapes do not fit, or an input is no float.
pub fn weight_norm(v: &Tensor, g: &Tensor) -> Result<Tensor> {
    let (direction, length) = (v.array(), g.array());
    let (dims_v, dims_g) = (direction.dims(), length.dims());
    let fits = dims_v.len() >= 2
        && !dims_g.is_empty()
        && (dims_g.len() == 1 || dims_g.len() == dims_v.len())
        && dims_g[0] == dims_v[0]
        && dims_g[1..].iter().all(|size| *size == 1);
    if !fits {
        return Err(Error::shape(
            "WeightNorm",
            format!("v {dims_v:?} and g {dims_g:?}"),
            "v (K, ..) and g (K) or (K, 1, ..)",
        ));
    }
    result_type("WeightNorm", length.dtype())?;
    let type_w = result_type("WeightNorm", direction.dtype())?;
    let rows = dims_v[0];
    let dims_v = dims_v.to_vec();
    let norm = wide(&direction)?.reshape((rows, ()))?.sqr()?.sum_keepdim(1)?.sqrt()?;
    let scale = (wide(&length)?.reshape((rows, 1))?.to_dtype(norm.dtype())? / &norm)?;
    let output = wide(&direction)?.reshape((rows, ()))?.broadcast_mul(&scale)?;
    let output = output.to_dtype(type_w)?.reshape(dims_v.as_slice())?;
    let needs = (v.is_tracked(), g.is_tracked());
    Ok(tape::record("WeightNorm", &[v, g], output, move |grad| {
        let unit = wide(&direction)?.reshape((rows, ()))?.broadcast_div(&norm)?;
        let grad = wide(grad)?.reshape((rows, ()))?;
        let along = (&unit * &grad)?.sum_keepdim(1)?;
        let grad_v = || -> Result<Array> {
            let across = (&grad - unit.broadcast_mul(&along)?)?;
            let grad = across.broadcast_mul(&scale)?.reshape(dims_v)?;
            Ok(grad.to_dtype(direction.dtype())?)
        };
        let grad_g =
            || -> Result<Array> { Ok(along.reshape(length.dims())?.to_dtype(length.dtype())?) };
        Ok(vec![needs.0.then(grad_v).transpose()?, needs.1.then(grad_g).transpose()?])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[3, 5], &[3]]), |x| weight_norm(&x[0], &x[1]));
        check(Case::of(&[&[3, 37], &[3, 1]]), |x| weight_norm(&x[0], &x[1]));
        check(Case::of(&[&[2, 3, 2, 2], &[2, 1, 1, 1]]), |x| weight_norm(&x[0], &x[1]));
    }

    #[test]
    fn lengths_of_another_shape_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        for (v, g) in [(&[3, 4][..], &[4][..]), (&[3, 4], &[3, 4]), (&[3], &[3]), (&[3, 4], &[])] {
            let message = weight_norm(&zeros(v), &zeros(g)).unwrap_err().to_string();
            assert!(message.contains(&format!("v {v:?} and g {g:?}")), "{message}");
        }
    }
}
