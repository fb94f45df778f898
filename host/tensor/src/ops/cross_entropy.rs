//! Cross-entropy against class labels.

use super::log_softmax::log_sum_exp;
use super::precision::result_type;
use super::precision::wide;
use crate::cpu::row::{map_rows, reduce_rows, sums};
use crate::cpu::{self, Acc, Elements, Real};
use crate::{Array, DType, Error, Result, Tensor, tape, with_real};

/// -log_softmax(logits)_label per row of logits (N, K) with labels (N): (N). With label smoothing s,
/// the label counts 1 - s and every class s / K. Rows labelled `ignore_index` give 0. A half type
/// under autocast becomes f32.
///
/// # Errors
/// Shapes do not fit, a label is outside [0, K) and not `ignore_index`, or s is outside [0, 1].
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    label_smoothing: f64,
    ignore_index: i64,
) -> Result<Tensor> {
    let (array, labels) = (logits.array(), labels.array());
    let ([rows, classes], [count]) = (array.dims(), labels.dims()) else {
        return Err(shapes(&array, &labels));
    };
    if rows != count || *classes == 0 {
        return Err(shapes(&array, &labels));
    }
    if !(0.0..=1.0).contains(&label_smoothing) {
        let what = format!("label_smoothing {label_smoothing}; expected a number in [0, 1]");
        return Err(Error::attribute("CrossEntropy", what));
    }
    if !labels.dtype().is_int() {
        return Err(Error::Type {
            op: "CrossEntropy",
            found: labels.dtype(),
            expected: "i64 labels",
        });
    }
    let (type_x, type_y) = (array.dtype(), result_type("CrossEntropy", array.dtype())?);
    let labels = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let valid = |label: i64| usize::try_from(label).is_ok_and(|label| label < *classes);
    if let Some(label) = labels.iter().find(|l| **l != ignore_index && !valid(**l)) {
        let what = format!("label {label}; expected 0 to {} or {ignore_index}", classes - 1);
        return Err(Error::attribute("CrossEntropy", what));
    }
    let labels: Vec<Option<usize>> =
        labels.into_iter().map(|label| (label != ignore_index).then_some(label as usize)).collect();
    let (output, log_sum) = if cpu::is_native(&array) {
        kernel(&array, &labels, label_smoothing)?
    } else {
        portable(&array, &labels, label_smoothing)?
    };
    Ok(tape::record("CrossEntropy", &[logits], output.to_dtype(type_y)?, move |grad| {
        let grad = wide(grad)?;
        Ok(vec![Some(if cpu::is_native(&array) {
            kernel_backward(&array, &labels, &log_sum, &grad, label_smoothing)?
        } else {
            let grad = portable_backward(&array, &labels, &log_sum, &grad, label_smoothing)?;
            grad.to_dtype(type_x)?
        })])
    }))
}

fn shapes(logits: &Array, labels: &Array) -> Error {
    Error::shape(
        "CrossEntropy",
        format!("logits {:?} and labels {:?}", logits.dims(), labels.dims()),
        "logits (N, K), K > 0, and labels (N)",
    )
}

/// The loss and log(sum(e^x)) per row (N); in f32 (f64 for f64).
fn kernel(x: &Array, labels: &[Option<usize>], smoothing: f64) -> Result<(Array, Array)> {
    with_real!("CrossEntropy", x.dtype(), T => {
        type A = <T as Real>::Acc;
        let rest = A::of(1.0 - smoothing);
        let every = A::of(smoothing / x.dims()[1] as f64);
        let rows = reduce_rows(
            x,
            #[inline(always)]
            |row, x: &[T]| {
                let log_sum = log_sum_exp(x, A::ONE);
                let Some(label) = labels[row] else { return [A::ZERO, log_sum] };
                let mut loss = rest * (log_sum - x[label].acc());
                if smoothing > 0.0 {
                    let [spread] = sums(x, #[inline(always)] |x| [log_sum - x.acc()]);
                    loss += every * spread;
                }
                [loss, log_sum]
            },
        )?;
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
        Ok((cpu::from_vec(column(0), rows.len())?, cpu::from_vec(column(1), rows.len())?))
    })
}

fn kernel_backward(
    x: &Array,
    labels: &[Option<usize>],
    log_sum: &Array,
    grad: &Array,
    smoothing: f64,
) -> Result<Array> {
    let (log_sum, grad) = (Elements::of(log_sum)?, Elements::of(grad)?);
    with_real!("CrossEntropy", x.dtype(), T => {
        type A = <T as Real>::Acc;
        let rest = A::of(1.0 - smoothing);
        let every = A::of(smoothing / x.dims()[1] as f64);
        let run = |log_sum: &[A], grad: &[A]| {
            map_rows(
                x,
                #[inline(always)]
                |row, out: &mut [T], x: &[T]| {
                    let Some(label) = labels[row] else {
                        out.fill(T::default());
                        return;
                    };
                    backward_row(out, x, label, [log_sum[row], grad[row], rest, every]);
                },
            )
        };
        log_sum.read(|log_sum| grad.read(|grad| run(log_sum, grad)))??
    })
}

#[inline(always)]
fn backward_row<T: Real>(
    out: &mut [T],
    x: &[T],
    label: usize,
    [log_sum, grad, rest, every]: [T::Acc; 4],
) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = T::round(((x.acc() - log_sum).exp() - every) * grad);
    }
    let expected = (x[label].acc() - log_sum).exp();
    out[label] = T::round((expected - every - rest) * grad);
}

/// The distributions (N, K) that the labels stand for; zeros for ignored rows.
fn targets(like: &Array, labels: &[Option<usize>], smoothing: f64) -> Result<Array> {
    let classes = like.dims()[1];
    let position = labels.iter().map(|label| label.map_or(-1, |label| label as i64)).collect();
    let position = Array::from_vec(position, (labels.len(), 1), like.device())?;
    let every = Array::arange(0i64, classes as i64, like.device())?.unsqueeze(0)?;
    let hot = position.broadcast_eq(&every)?.to_dtype(like.dtype())?;
    let counts = position.ge(0i64)?.to_dtype(like.dtype())?;
    Ok((hot * (1.0 - smoothing))?.broadcast_add(&(counts * (smoothing / classes as f64))?)?)
}

/// The loss (N) and log(sum(e^x)) per row (N, 1).
fn portable(x: &Array, labels: &[Option<usize>], smoothing: f64) -> Result<(Array, Array)> {
    let x = wide(x)?;
    let most = x.max_keepdim(1)?;
    let log_sum = (x.broadcast_sub(&most)?.exp()?.sum_keepdim(1)?.log()? + most)?;
    let targets = targets(&x, labels, smoothing)?;
    let loss = (targets * log_sum.broadcast_sub(&x)?)?.sum(1)?;
    Ok((loss, log_sum))
}

/// grad (softmax(x) - target), 0 for ignored rows.
fn portable_backward(
    x: &Array,
    labels: &[Option<usize>],
    log_sum: &Array,
    grad: &Array,
    smoothing: f64,
) -> Result<Array> {
    let x = wide(x)?;
    let targets = targets(&x, labels, smoothing)?;
    let counts = labels.iter().map(|label| f32::from(u8::from(label.is_some()))).collect();
    let counts = Array::from_vec(counts, labels.len(), x.device())?.to_dtype(x.dtype())?;
    let grad = (wide(grad)? * counts)?.unsqueeze(1)?;
    let expected = x.broadcast_sub(log_sum)?.exp()?;
    Ok((expected - targets)?.broadcast_mul(&grad)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check, here};
    use crate::mode::{Mode, current, scope};

    fn labels(labels: &[i64]) -> Tensor {
        Tensor::constant(Array::new(labels, &Device::Cpu).unwrap())
    }

    #[test]
    fn gradient() {
        check(Case::of(&[&[3, 5]]), |x| {
            cross_entropy(&x[0], &here(&labels(&[4, 0, 2])), 0.0, -100)
        });
        check(Case::of(&[&[3, 37]]), |x| {
            cross_entropy(&x[0], &here(&labels(&[1, -100, 36])), 0.1, -100)
        });
        check(Case::of(&[&[3, 4]]), |x| cross_entropy(&x[0], &here(&labels(&[1, 2, 1])), 0.0, 2));
    }

    #[test]
    fn ignored_rows_give_zero() {
        let x = Array::new(&[[1f32, 2.0], [3.0, 3.0]], &Device::Cpu).unwrap();
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let x = Tensor::constant(x.clone());
                let loss = cross_entropy(&x, &labels(&[255, 1]), 0.0, 255).unwrap().array();
                let loss = loss.to_vec1::<f32>().unwrap();
                assert_eq!(loss[0], 0.0);
                assert!((loss[1] - 2f32.ln()).abs() < 1e-6);
            });
        }
    }

    #[test]
    fn a_label_outside_the_classes_is_named() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        for wrong in [3, -1] {
            let message = cross_entropy(&x, &labels(&[0, wrong]), 0.0, -100).unwrap_err();
            assert!(message.to_string().contains(&format!("label {wrong}")), "{message}");
        }
        assert!(cross_entropy(&x, &labels(&[0]), 0.0, -100).is_err());
        assert!(cross_entropy(&x, &x, 0.0, -100).is_err());
        assert!(cross_entropy(&x, &labels(&[0, 1]), 1.5, -100).is_err());
    }
}
