//! Cross-entropy against a distribution: distillation's loss (Caron et al., 2021, equation 2).

mod cuda;

use super::log_softmax::log_sum_exp;
use super::precision::result_type;
use super::precision::wide;
use crate::cpu::row::{reduce_rows2, sums2, zip_rows};
use crate::cpu::{self, Acc, Cast, Elements, Real};
use crate::{Array, DType, Error, Result, Tensor, tape};

/// -sum_k target_k log_softmax(logits / temperature)_k per row: logits and target (.., K) give (..).
/// The target receives no gradient. Half types under autocast become f32.
///
/// # Errors
/// Shapes differ, K is missing or 0, or `temperature` is not positive.
pub fn soft_cross_entropy(logits: &Tensor, target: &Tensor, temperature: f64) -> Result<Tensor> {
    let (array, target) = (logits.array(), target.array());
    if array.dims() != target.dims() || array.dims().last().is_none_or(|classes| *classes == 0) {
        return Err(Error::shape(
            "SoftCrossEntropy",
            format!("logits {:?} and target {:?}", array.dims(), target.dims()),
            "two equal shapes (.., K), K > 0",
        ));
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        let what = format!("temperature {temperature}; expected a positive number");
        return Err(Error::attribute("SoftCrossEntropy", what));
    }
    result_type("SoftCrossEntropy", target.dtype())?;
    let (type_x, type_y) = (array.dtype(), result_type("SoftCrossEntropy", array.dtype())?);
    let fused = cpu::is_native(&array) || cuda::takes(&array);
    let target = if fused { pairable(&array, &target)? } else { target };
    let (output, log_sum, mass) = if cpu::is_native(&array) {
        kernel(&array, &target, temperature)?
    } else if cuda::takes(&array) {
        cuda::forward(&array, &target, temperature)?
    } else {
        portable(&array, &target, temperature)?
    };
    Ok(tape::record("SoftCrossEntropy", &[logits], output.cast(type_y)?, move |grad| {
        let grad = wide(grad)?;
        Ok(vec![Some(if cpu::is_native(&array) {
            kernel_backward(&array, &target, &log_sum, &mass, &grad, temperature)?
        } else if cuda::takes(&array) {
            cuda::backward(&array, &target, &log_sum, &mass, &grad, temperature)?
        } else {
            let grad = portable_backward(&array, &target, &log_sum, &mass, &grad, temperature)?;
            grad.cast(type_x)?
        })])
    }))
}

/// The target in a type that the kernel takes beside x: a K-sized copy is made for rare pairs only.
fn pairable(x: &Array, target: &Array) -> Result<Array> {
    use DType::{BF16, F32};
    Ok(match (x.dtype(), target.dtype()) {
        (F32 | BF16, F32 | BF16) => target.clone(),
        (dtype, _) => target.cast(dtype)?,
    })
}

/// Runs `$body` with `$logit` and `$target` bound to a pair of [`pairable`] element types.
macro_rules! with_pair {
    ($x:expr, $target:expr, $a:ident, $b:ident => $body:expr) => {{
        macro_rules! run {
            ($left:ty, $right:ty) => {{
                type $a = $left;
                type $b = $right;
                $body
            }};
        }
        match ($x.dtype(), $target.dtype()) {
            (DType::F32, DType::F32) => run!(f32, f32),
            (DType::F32, DType::BF16) => run!(f32, half::bf16),
            (DType::BF16, DType::F32) => run!(half::bf16, f32),
            (DType::BF16, DType::BF16) => run!(half::bf16, half::bf16),
            (DType::F16, DType::F16) => run!(half::f16, half::f16),
            (DType::F64, DType::F64) => run!(f64, f64),
            (found, _) => Err(Error::Type {
                op: "SoftCrossEntropy",
                found,
                expected: "f32, f64, bf16 or f16",
            }),
        }
    }};
}

/// The loss (..), and log(sum(e^(x / T))) and sum(target) per row, flat; all in f32 (f64 for f64).
fn kernel(x: &Array, target: &Array, temperature: f64) -> Result<(Array, Array, Array)> {
    let dims = &x.dims()[..x.rank() - 1];
    with_pair!(x, target, T, P => {
        let scale = <T as Real>::Acc::of(1.0 / temperature);
        let rows = reduce_rows2(
            x,
            target,
            #[inline(always)]
            |_, x: &[T], target: &[P]| {
                let log_sum = log_sum_exp(x, scale);
                let [loss, mass] = sums2(
                    x,
                    target,
                    #[inline(always)]
                    |x, p| [p.acc() * (log_sum - x.acc() * scale), p.acc()],
                );
                [loss, log_sum, mass]
            },
        )?;
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
        Ok((
            cpu::from_vec(column(0), dims)?,
            cpu::from_vec(column(1), rows.len())?,
            cpu::from_vec(column(2), rows.len())?,
        ))
    })
}

fn kernel_backward(
    x: &Array,
    target: &Array,
    log_sum: &Array,
    mass: &Array,
    grad: &Array,
    temperature: f64,
) -> Result<Array> {
    let [log_sum, mass, grad] = [Elements::of(log_sum)?, Elements::of(mass)?, Elements::of(grad)?];
    with_pair!(x, target, T, P => {
        type A = <T as Real>::Acc;
        let scale = A::of(1.0 / temperature);
        let run = |log_sum: &[A], mass: &[A], grad: &[A]| {
            zip_rows(
                x,
                target,
                #[inline(always)]
                |row, out: &mut [T], x: &[T], target: &[P]| {
                    backward_row(out, x, target, scale, [log_sum[row], mass[row], grad[row]]);
                },
            )
        };
        log_sum.read(|log_sum| mass.read(|mass| grad.read(|grad| run(log_sum, mass, grad))))???
    })
}

#[inline(always)]
fn backward_row<T: Real, P: Real<Acc = T::Acc>>(
    out: &mut [T],
    x: &[T],
    target: &[P],
    scale: T::Acc,
    [log_sum, mass, grad]: [T::Acc; 3],
) {
    let grad = grad * scale;
    for ((out, x), p) in out.iter_mut().zip(x).zip(target) {
        let expected = (x.acc() * scale - log_sum).exp() * mass;
        *out = T::round((expected - p.acc()) * grad);
    }
}

/// The loss (..), and log(sum(e^(x / T))) and sum(target) per row (.., 1).
fn portable(x: &Array, target: &Array, temperature: f64) -> Result<(Array, Array, Array)> {
    let scaled = (wide(x)? / temperature)?;
    let target = wide(target)?.cast(scaled.dtype())?;
    let last = scaled.rank() - 1;
    let most = scaled.max_keepdim(last)?;
    let log_sum = scaled.broadcast_sub(&most)?.exp()?.sum_keepdim(last)?.log()?;
    let log_sum = (log_sum + most)?;
    let mass = target.sum_keepdim(last)?;
    let loss = (target * log_sum.broadcast_sub(&scaled)?)?.sum(last)?;
    Ok((loss, log_sum, mass))
}

/// grad (softmax(x / T) sum(target) - target) / T.
fn portable_backward(
    x: &Array,
    target: &Array,
    log_sum: &Array,
    mass: &Array,
    grad: &Array,
    temperature: f64,
) -> Result<Array> {
    let scaled = (wide(x)? / temperature)?;
    let target = wide(target)?.cast(scaled.dtype())?;
    let grad = (wide(grad)?.unsqueeze(scaled.rank() - 1)? / temperature)?;
    let expected = scaled.broadcast_sub(log_sum)?.exp()?.broadcast_mul(mass)?;
    Ok((expected - target)?.broadcast_mul(&grad)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check, here};
    use crate::mode::{Mode, current, scope};

    /// A fixed target; its rows need not sum to 1.
    fn target(dims: &[usize], dtype: DType) -> Tensor {
        let len: usize = dims.iter().product();
        let values: Vec<f64> = (0..len).map(|i| ((i * 7) % 5) as f64 * 0.1).collect();
        let target = Array::from_vec(values, dims, &Device::Cpu).unwrap();
        Tensor::constant(target.to_dtype(dtype).unwrap())
    }

    #[test]
    fn gradient() {
        check(Case::of(&[&[3, 5]]), |x| {
            soft_cross_entropy(&x[0], &here(&target(&[3, 5], x[0].dtype())), 0.5)
        });
        check(Case::of(&[&[2, 140]]), |x| {
            soft_cross_entropy(&x[0], &here(&target(&[2, 140], x[0].dtype())), 0.5)
        });
        check(Case::of(&[&[2, 2, 37]]), |x| {
            soft_cross_entropy(&x[0], &here(&target(&[2, 2, 37], x[0].dtype())), 1.0)
        });
        // Logits of any type meet a target of another.
        check(Case::of(&[&[2, 4]]), |x| {
            soft_cross_entropy(&x[0], &here(&target(&[2, 4], DType::F32)), 1.0)
        });
        check(Case::of(&[&[4]]), |x| {
            soft_cross_entropy(&x[0], &here(&target(&[4], DType::F64)), 1.0)
        });
    }

    #[test]
    fn a_sharp_temperature_stays_finite() {
        let x = Array::new(&[[50f32, -50.0], [3.0, 3.0]], &Device::Cpu).unwrap();
        let target = Array::new(&[[1f32, 0.0], [0.5, 0.5]], &Device::Cpu).unwrap();
        let (x, target) = (Tensor::constant(x), Tensor::constant(target));
        for portable in [false, true] {
            scope(Mode { portable, ..current() }, || {
                let loss = soft_cross_entropy(&x, &target, 0.04).unwrap().array();
                let loss = loss.to_vec1::<f32>().unwrap();
                assert_eq!(loss[0], 0.0);
                assert!((loss[1] - 2f32.ln()).abs() < 1e-5, "{loss:?}");
            });
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let x = target(&[2, 3], DType::F32);
        let message = soft_cross_entropy(&x, &target(&[2, 4], DType::F32), 1.0).unwrap_err();
        assert!(message.to_string().contains("[2, 3] and target [2, 4]"), "{message}");
        let message = soft_cross_entropy(&x, &x, 0.0).unwrap_err();
        assert!(message.to_string().contains("temperature 0"), "{message}");
    }
}
