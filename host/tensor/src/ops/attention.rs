//! Scaled dot-product attention (Vaswani et al., 2017) with an additive bias.

use super::broadcast::{promote, reduce_to, shape};
use super::matmul::{operands, product};
use super::precision::wide;
use super::softmax;
use crate::{Array, Error, Result, Tensor, mode, tape};

/// softmax(scale q k^T + bias) v per head, of q (B, heads, N, D), k (B, heads, M, D),
/// v (B, heads, M, E) and a bias that broadcasts to (B, heads, N, M): (B, heads, N, E) and, with
/// `return_weights`, the weights (B, heads, N, M). Under autocast the products are taken in bf16 and
/// the first output is bf16; the weights are f32.
///
/// # Errors
/// The shapes do not fit.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    scale: f64,
    return_weights: bool,
) -> Result<Vec<Tensor>> {
    let (array_q, array_k, array_v) = (q.array(), k.array(), v.array());
    let array_b = bias.map(Tensor::array);
    let Some(weights_shape) = weights_shape(&array_q, &array_k, &array_v, array_b.as_ref()) else {
        let mut found =
            format!("q {:?}, k {:?}, v {:?}", array_q.dims(), array_k.dims(), array_v.dims());
        if let Some(bias) = &array_b {
            found += &format!(", bias {:?}", bias.dims());
        }
        let expected = "q (B, heads, N, D), k (B, heads, M, D), v (B, heads, M, E), bias to \
                        (B, heads, N, M)";
        return Err(Error::shape("Attention", found, expected));
    };
    let (left, right) = operands(&array_q, &array_k)?;
    let (left, value) = operands(&left, &array_v)?;
    let (left, right) = promote(&left, &right)?;
    let mut scores = (wide(&product(&left, &right.t()?)?)? * scale)?;
    if let Some(bias) = &array_b {
        scores = scores.broadcast_add(&bias.to_dtype(scores.dtype())?)?;
    }
    let weights = softmax::portable(&scores, 3)?;
    let output = product(&weights.to_dtype(value.dtype())?, &value)?;
    let mut outputs = vec![output];
    if return_weights {
        let autocast = mode::current().autocast;
        outputs.push(if autocast { weights.clone() } else { weights.to_dtype(left.dtype())? });
    }
    let needs = [q, k, v].map(Tensor::is_tracked);
    let needs_bias = bias.is_some_and(Tensor::is_tracked);
    let types = [array_q.dtype(), array_k.dtype(), array_v.dtype()];
    let bias_like = array_b.map(|bias| (bias.dims().to_vec(), bias.dtype()));
    let inputs: Vec<&Tensor> = [Some(q), Some(k), Some(v), bias].into_iter().flatten().collect();
    Ok(tape::record_many("Attention", &inputs, outputs, move |grads| {
        let dtype = value.dtype();
        let grad = grads[0].as_ref().map(|grad| grad.to_dtype(dtype)).transpose()?;
        let mut grad_v = None;
        let mut grad_weights =
            grads.get(1).cloned().flatten().map(|grad| wide(&grad)).transpose()?;
        if let Some(grad) = &grad {
            if needs[2] {
                let grad = product(&weights.to_dtype(dtype)?.t()?, grad)?;
                grad_v = Some(grad.to_dtype(types[2])?);
            }
            let part = wide(&product(grad, &value.t()?)?)?;
            grad_weights = Some(match grad_weights {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
        let Some(grad_weights) = grad_weights else { return Ok(Vec::new()) };
        let grad_scores = softmax::portable_backward(&weights, &grad_weights, 3)?;
        let scaled = (&grad_scores * scale)?.to_dtype(dtype)?;
        let grad_q = || -> Result<Array> { Ok(product(&scaled, &right)?.to_dtype(types[0])?) };
        let grad_k = || -> Result<Array> { Ok(product(&scaled.t()?, &left)?.to_dtype(types[1])?) };
        let mut result =
            vec![needs[0].then(grad_q).transpose()?, needs[1].then(grad_k).transpose()?, grad_v];
        if let (true, Some((dims, dtype))) = (needs_bias, bias_like) {
            debug_assert_eq!(grad_scores.dims(), weights_shape);
            result.push(Some(reduce_to(&grad_scores, &dims, dtype)?));
        }
        Ok(result)
    }))
}

/// (B, heads, N, M), if the inputs fit together.
fn weights_shape(q: &Array, k: &Array, v: &Array, bias: Option<&Array>) -> Option<[usize; 4]> {
    let [batch, heads, queries, depth] = *q.dims() else { return None };
    let [batch_k, heads_k, keys, depth_k] = *k.dims() else { return None };
    let [batch_v, heads_v, values, _] = *v.dims() else { return None };
    let scores = [batch, heads, queries, keys];
    let fits = [batch_k, heads_k, depth_k] == [batch, heads, depth]
        && [batch_v, heads_v, values] == [batch, heads, keys]
        && bias.is_none_or(|bias| {
            shape("Attention", bias.dims(), &scores).is_ok_and(|met| met == scores)
        });
    fits.then_some(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 2, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 3]]), |x| {
            Ok(attention(&x[0], &x[1], &x[2], None, 0.5, false)?.remove(0))
        });
    }

    #[test]
    fn gradient_with_bias() {
        for bias in [&[2, 2, 3, 4][..], &[2, 3, 4], &[2, 1, 1, 4], &[1, 2, 3, 1], &[4], &[]] {
            check(Case::of(&[&[2, 2, 3, 2], &[2, 2, 4, 2], &[2, 2, 4, 2], bias]), |x| {
                Ok(attention(&x[0], &x[1], &x[2], Some(&x[3]), 0.7, false)?.remove(0))
            });
        }
    }

    #[test]
    fn gradient_through_the_weights() {
        let shapes: [&[usize]; 4] = [&[2, 2, 3, 2], &[2, 2, 4, 2], &[2, 2, 4, 2], &[3, 4]];
        check(Case::of(&shapes), |x| {
            let mut outputs = attention(&x[0], &x[1], &x[2], Some(&x[3]), 0.7, true)?;
            let (weights, output) = (outputs.remove(1), outputs.remove(0));
            crate::ops::matmul(&weights, &crate::ops::matmul(&x[2], &permuted(&output)?)?)
        });
    }

    /// (B, heads, N, E) to (B, heads, E, N).
    fn permuted(x: &Tensor) -> Result<Tensor> {
        let output = x.array().t()?;
        Ok(tape::record("T", &[x], output, |grad| Ok(vec![Some(grad.t()?)])))
    }

    #[test]
    fn masked_keys_do_not_count() {
        let q = Tensor::constant(Array::ones((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap());
        let v = Array::new(&[[[[1f32], [2.0], [100.0]]]], &Device::Cpu).unwrap();
        let k = Tensor::constant(Array::ones((1, 1, 3, 2), DType::F32, &Device::Cpu).unwrap());
        let mask = Array::new(&[0f32, 0.0, f32::NEG_INFINITY], &Device::Cpu).unwrap();
        let (v, mask) = (Tensor::constant(v), Tensor::constant(mask));
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let outputs = attention(&q, &k, &v, Some(&mask), 1.0, true).unwrap();
                let output = outputs[0].array().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(output, [1.5, 1.5]);
                let weights = outputs[1].array().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(weights, [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
            });
        }
    }

    #[test]
    fn autocast_answers_in_bf16() {
        let x = Tensor::constant(Array::ones((1, 2, 3, 4), DType::F32, &Device::Cpu).unwrap());
        scope(Mode { autocast: true, ..current() }, || {
            let outputs = attention(&x, &x, &x, None, 1.0, true).unwrap();
            assert_eq!(outputs[0].dtype(), DType::BF16);
            assert_eq!(outputs[1].dtype(), DType::F32);
        });
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let q = zeros(&[2, 2, 3, 4]);
        for (k, v, bias) in [
            (zeros(&[2, 2, 5, 3]), zeros(&[2, 2, 5, 3]), None),
            (zeros(&[2, 2, 5, 4]), zeros(&[2, 2, 4, 3]), None),
            (zeros(&[2, 2, 4]), zeros(&[2, 2, 4, 3]), None),
            (q.clone(), q.clone(), Some(zeros(&[3, 4]))),
            (q.clone(), q.clone(), Some(zeros(&[1, 2, 2, 3, 3]))),
        ] {
            let message = attention(&q, &k, &v, bias.as_ref(), 1.0, false).unwrap_err().to_string();
            assert!(message.contains("q [2, 2, 3, 4], k "), "{message}");
        }
    }
}
