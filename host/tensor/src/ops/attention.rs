//! Scaled dot-product attention (Vaswani et al., 2017) with an additive bias.

mod cuda;
mod kernel;

use super::broadcast::{promote, reduce_to, shape};
use super::matmul::{operands, product};
use super::precision::wide;
use super::precision::wide_type;
use super::softmax;
use crate::cpu::Cast;
use crate::{Array, DType, Error, Result, Tensor, cpu, mode, tape};

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
    let Some(scores) = scores_shape(&array_q, &array_k, &array_v, array_b.as_ref()) else {
        let mut found =
            format!("q {:?}, k {:?}, v {:?}", array_q.dims(), array_k.dims(), array_v.dims());
        if let Some(bias) = &array_b {
            found += &format!(", bias {:?}", bias.dims());
        }
        let expected = "q (B, heads, N, D), k (B, heads, M, D), v (B, heads, M, E), bias to \
                        (B, heads, N, M)";
        return Err(Error::shape("Attention", found, expected));
    };
    let inputs: Vec<&Tensor> = [Some(q), Some(k), Some(v), bias].into_iter().flatten().collect();
    let needs = Needs {
        q: q.is_tracked(),
        k: k.is_tracked(),
        v: v.is_tracked(),
        bias: bias.is_some_and(Tensor::is_tracked),
    };
    let types = [array_q.dtype(), array_k.dtype(), array_v.dtype()];
    let bias_like = array_b.as_ref().map(|bias| (bias.dims().to_vec(), bias.dtype()));
    let finish = move |grads: [Option<Array>; 4]| -> Result<Vec<Option<Array>>> {
        let [grad_q, grad_k, grad_v, grad_b] = grads;
        let cast = |grad: Option<Array>, dtype| grad.map(|grad| grad.cast(dtype)).transpose();
        let mut grads =
            vec![cast(grad_q, types[0])?, cast(grad_k, types[1])?, cast(grad_v, types[2])?];
        if let Some((dims, dtype)) = bias_like {
            grads.push(grad_b.map(|grad| reduce_to(&grad, &dims, dtype)).transpose()?);
        }
        Ok(grads)
    };
    let autocast = mode::current().autocast;
    let native = cpu::is_native(&array_q) && scores.iter().all(|size| *size > 0);
    let native = native && array_q.elem_count() > 0 && array_v.elem_count() > 0;
    let problem = if native {
        // f32 operands are rounded to bf16 as the kernels read them; f16 is widened before.
        let (left, right) = promote(&array_q, &array_k)?;
        let (left, value) = promote(&left, &array_v)?;
        Problem::new(left, right, value, array_b, scores, scale)?
    } else {
        let (left, right) = operands(&array_q, &array_k)?;
        let (left, value) = operands(&left, &array_v)?;
        Problem::new(left, right, value, array_b, scores, scale)?
    };
    let type_y = match problem.q.dtype() {
        DType::F32 | DType::BF16 if autocast => DType::BF16,
        dtype => dtype,
    };
    if native {
        let (problem, to) = match type_y {
            DType::F16 => (problem.widened()?, DType::F32),
            _ => (problem, type_y),
        };
        let (output, log_sum, weights) = kernel::forward(&problem, to, return_weights)?;
        let mut outputs = vec![output.cast(type_y)?];
        if let Some(weights) = weights {
            outputs.push(if autocast { weights } else { weights.cast(type_y)? });
        }
        return Ok(tape::record_many("Attention", &inputs, outputs, move |grads| {
            finish(kernel::backward(&problem, &log_sum, grads, to, needs)?)
        }));
    }
    if !return_weights && cuda::takes(&problem) {
        let (output, saved) = cuda::forward(&problem)?;
        return Ok(tape::record_many("Attention", &inputs, vec![output], move |grads| {
            let Some(grad) = &grads[0] else { return Ok(Vec::new()) };
            finish(cuda::backward(&problem, &saved, grad, needs)?)
        }));
    }
    let (output, weights) = portable(&problem)?;
    let mut outputs = vec![output];
    if return_weights {
        outputs.push(if autocast { weights.clone() } else { weights.cast(type_y)? });
    }
    Ok(tape::record_many("Attention", &inputs, outputs, move |grads| {
        finish(portable_backward(&problem, &weights, grads, needs)?)
    }))
}

#[derive(Clone, Copy)]
struct Needs {
    q: bool,
    k: bool,
    v: bool,
    bias: bool,
}

/// Checked operands: q, k and v of one type.
struct Problem {
    q: Array,
    k: Array,
    v: Array,
    /// In the type of the scores (f32, f64 for f64) and of their shape; what is repeated has stride 0.
    bias: Option<Array>,
    /// Whether every sample has a bias of its own.
    bias_per_sample: bool,
    scale: f64,
}

impl Problem {
    fn new(
        q: Array,
        k: Array,
        v: Array,
        bias: Option<Array>,
        scores: [usize; 4],
        scale: f64,
    ) -> Result<Self> {
        let (right, v) = (promote(&q, &k)?.1, promote(&q, &v)?.1);
        let k = right;
        let bias_per_sample =
            bias.as_ref().is_some_and(|bias| bias.rank() == 4 && bias.dims()[0] == scores[0]);
        let bias = match bias {
            Some(bias) => Some(bias.cast(wide_type(&q))?.broadcast_as(scores.as_slice())?),
            None => None,
        };
        Ok(Self { q, k, v, bias, bias_per_sample, scale })
    }

    fn widened(self) -> Result<Self> {
        Ok(Self { q: wide(&self.q)?, k: wide(&self.k)?, v: wide(&self.v)?, ..self })
    }
}

/// The output and the weights, these in f32 (f64 for f64).
fn portable(problem: &Problem) -> Result<(Array, Array)> {
    let Problem { q, k, v, bias, scale, .. } = problem;
    let mut scores = (wide(&product(q, &k.t()?)?)? * *scale)?;
    if let Some(bias) = bias {
        scores = (scores + bias)?;
    }
    let weights = softmax::portable(&scores, 3)?;
    Ok((product(&weights.cast(v.dtype())?, v)?, weights))
}

/// Gradients of q, k, v and of the bias before it was broadcast.
fn portable_backward(
    problem: &Problem,
    weights: &Array,
    grads: &[Option<Array>],
    needs: Needs,
) -> Result<[Option<Array>; 4]> {
    let Problem { q, k, v, scale, .. } = problem;
    let dtype = v.dtype();
    let grad = grads[0].as_ref().map(|grad| grad.cast(dtype)).transpose()?;
    let mut grad_v = None;
    let mut grad_weights = grads.get(1).cloned().flatten().map(|grad| wide(&grad)).transpose()?;
    if let Some(grad) = &grad {
        if needs.v {
            grad_v = Some(product(&weights.cast(dtype)?.t()?, grad)?);
        }
        let part = wide(&product(grad, &v.t()?)?)?;
        grad_weights = Some(match grad_weights {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    let Some(grad_weights) = grad_weights else { return Ok([None, None, None, None]) };
    let grad_scores = softmax::portable_backward(weights, &grad_weights, 3)?;
    let scaled = (&grad_scores * *scale)?.cast(dtype)?;
    Ok([
        needs.q.then(|| product(&scaled, k)).transpose()?,
        needs.k.then(|| product(&scaled.t()?, q)).transpose()?,
        grad_v,
        needs.bias.then_some(grad_scores),
    ])
}

/// (B, heads, N, M), if the inputs fit together.
fn scores_shape(q: &Array, k: &Array, v: &Array, bias: Option<&Array>) -> Option<[usize; 4]> {
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
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 2, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 3]]), |x| {
            Ok(attention(&x[0], &x[1], &x[2], None, 0.5, false)?.remove(0))
        });
    }

    /// The output and the gradients of q, k and v, as f64.
    fn outcome(inputs: &[Array; 3]) -> Vec<Vec<f64>> {
        let leaves = inputs.each_ref().map(|x| tape::input(x.clone()));
        let [q, k, v] = &leaves;
        let output = attention(q, k, v, None, 0.3, false).unwrap().remove(0);
        let array = output.array();
        let grad = crate::gate::noise(array.shape()).to_dtype(array.dtype()).unwrap();
        let mut parameters = crate::Gradients::default();
        let grads = tape::backward_from(&[(output, grad)], &leaves, &mut parameters).unwrap();
        let flat = |x: Array| {
            x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        std::iter::once(array).chain(grads.into_iter().flatten()).map(flat).collect()
    }

    /// More rows than a tile has, heads cut from one product, and keys that are not the queries'.
    #[test]
    fn cuda_kernels_agree_with_f64() {
        for (depth, dtype, tolerance) in
            [(32, DType::BF16, 0.03), (64, DType::BF16, 0.03), (64, DType::F16, 0.004)]
        {
            let map = |rows: usize, part: usize| {
                let all = crate::gate::noise((2, rows, 3, 2, depth)).to_dtype(dtype).unwrap();
                all.narrow(2, part, 1).unwrap().squeeze(2).unwrap().transpose(1, 2).unwrap()
            };
            for keys in [70, 130] {
                let inputs = [map(70, 0), map(keys, 1), map(keys, 2)];
                let exact = outcome(&inputs.each_ref().map(|x| x.to_dtype(DType::F64).unwrap()));
                let found = crate::cuda::emulated::scope(|| outcome(&inputs));
                assert_eq!(found.len(), 4);
                for (which, (found, exact)) in found.iter().zip(&exact).enumerate() {
                    let largest = exact.iter().fold(0f64, |most, x| most.max(x.abs()));
                    for (index, (found, exact)) in found.iter().zip(exact).enumerate() {
                        assert!(
                            (found - exact).abs() <= tolerance * largest,
                            "{dtype:?}, {depth} channels, {keys} keys: element {index} of {which} is \
                             {found}, expected {exact} (largest {largest})"
                        );
                    }
                }
            }
        }
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
