//! Weight normalisation (Salimans and Kingma, 2016): direction and length of each row apart.

use super::precision::wide;
use super::precision::{result_type, wide_type, with_result};
use crate::cpu::row::{map_rows, reduce_rows, reduce_rows2, sums, sums2, zip_rows};
use crate::cpu::{self, Elements, Real};
use crate::{Array, DType, Error, Result, Tensor, tape};

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
    let matrix = direction.reshape((rows, ()))?;
    let gains = length.reshape(rows)?.to_dtype(wide_type(&matrix))?;
    let (output, norm) = if cpu::is_native(&matrix) {
        kernel(&matrix, &gains, type_w)?
    } else {
        let (output, norm) = portable(&matrix, &gains)?;
        (output.to_dtype(type_w)?, norm)
    };
    let output = output.reshape(dims_v.as_slice())?;
    let needs = (v.is_tracked(), g.is_tracked());
    Ok(tape::record("WeightNorm", &[v, g], output, move |grad| {
        let grad = grad.to_dtype(type_w)?.reshape((rows, ()))?;
        let (grad_v, grad_g) = if cpu::is_native(&matrix) {
            kernel_backward(&matrix, &gains, &norm, &grad, needs.0)?
        } else {
            portable_backward(&matrix, &gains, &norm, &grad, needs.0)?
        };
        let grad_v = grad_v
            .map(|grad| Ok::<_, Error>(grad.reshape(dims_v)?.to_dtype(direction.dtype())?))
            .transpose()?;
        let grad_g =
            || -> Result<Array> { Ok(grad_g.reshape(length.dims())?.to_dtype(length.dtype())?) };
        Ok(vec![grad_v, needs.1.then(grad_g).transpose()?])
    }))
}

/// w and ||v|| per row (K), of v (K, C) and g (K); g and norms in f32 (f64 for f64).
fn kernel(v: &Array, g: &Array, to: DType) -> Result<(Array, Array)> {
    let gains = Elements::of(g)?;
    with_result!("WeightNorm", v.dtype(), to, T, O => {
        let norm = reduce_rows(
            v,
            #[inline(always)]
            |_, v: &[T]| {
                let [square] = sums(v, #[inline(always)] |v| [v.acc() * v.acc()]);
                square.sqrt()
            },
        )?;
        let w = gains.read(|gains: &[<T as Real>::Acc]| {
            map_rows(
                v,
                #[inline(always)]
                |row, w: &mut [O], v: &[T]| {
                    let scale = gains[row] / norm[row];
                    for (w, v) in w.iter_mut().zip(v) {
                        *w = <O as Real>::round(v.acc() * scale);
                    }
                },
            )
        })??;
        Ok((w, cpu::from_vec(norm, v.dims()[0])?))
    })
}

/// dv (in v's type, if asked for) and dg (K).
fn kernel_backward(
    v: &Array,
    g: &Array,
    norm: &Array,
    grad: &Array,
    needs_v: bool,
) -> Result<(Option<Array>, Array)> {
    let (gains, norms) = (Elements::of(g)?, Elements::of(norm)?);
    with_result!("WeightNorm", v.dtype(), grad.dtype(), T, O => {
        norms.read(|norm: &[<T as Real>::Acc]| -> Result<_> {
            let grad_g = reduce_rows2(
                v,
                grad,
                #[inline(always)]
                |row, v: &[T], grad: &[O]| {
                    let [along] = sums2(v, grad, #[inline(always)] |v, grad| [v.acc() * grad.acc()]);
                    along / norm[row]
                },
            )?;
            let grad_v = || gains.read(|gains: &[<T as Real>::Acc]| {
                zip_rows(
                    v,
                    grad,
                    #[inline(always)]
                    |row, out: &mut [T], v: &[T], grad: &[O]| {
                        let scale = gains[row] / norm[row];
                        let along = grad_g[row] / norm[row];
                        for ((out, v), grad) in out.iter_mut().zip(v).zip(grad) {
                            *out = <T as Real>::round(scale * (grad.acc() - v.acc() * along));
                        }
                    },
                )
            })?;
            let grad_v = needs_v.then(grad_v).transpose()?;
            let rows = grad_g.len();
            Ok((grad_v, cpu::from_vec(grad_g, rows)?))
        })?
    })
}

/// [`kernel`] by candle's operations.
fn portable(v: &Array, g: &Array) -> Result<(Array, Array)> {
    let v = wide(v)?;
    let norm = v.sqr()?.sum(1)?.sqrt()?;
    let w = v.broadcast_mul(&(g / &norm)?.unsqueeze(1)?)?;
    Ok((w, norm))
}

/// With u = v / ||v||: dg = u . dw, dv = g / ||v|| (dw - u dg).
fn portable_backward(
    v: &Array,
    g: &Array,
    norm: &Array,
    grad: &Array,
    needs_v: bool,
) -> Result<(Option<Array>, Array)> {
    let unit = wide(v)?.broadcast_div(&norm.unsqueeze(1)?)?;
    let grad = wide(grad)?;
    let along = (&unit * &grad)?.sum(1)?;
    let grad_v = || -> Result<Array> {
        let across = (&grad - unit.broadcast_mul(&along.unsqueeze(1)?)?)?;
        Ok(across.broadcast_mul(&(g / norm)?.unsqueeze(1)?)?)
    };
    Ok((needs_v.then(grad_v).transpose()?, along))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};

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
