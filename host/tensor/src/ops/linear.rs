//! Fully connected layer: x w^T + b.

mod cuda;

use candle_core::WithDType;
use half::bf16;

use super::broadcast::reduce_to;
use super::matmul::{operands, product};
use crate::cpu::{self, Brief, Cast, Elements, Matrix, Real, Start};
use crate::{Array, DType, Error, Result, Tensor, mode, tape, with_real};

/// x (.., I) times the transpose of `weight` (O, I), plus `bias` (O): (.., O). Under autocast the
/// product is taken and returned in bf16.
///
/// # Errors
/// The shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (array, matrix) = (x.array(), weight.array());
    let offset = bias.map(Tensor::array);
    let fits = match (array.dims(), matrix.dims(), offset.as_ref().map(Array::dims)) {
        ([.., width], [_, inputs], None) => width == inputs,
        ([.., width], [outputs, inputs], Some([length])) => width == inputs && outputs == length,
        _ => false,
    };
    if !fits {
        let mut found = format!("x {:?}, weight {:?}", array.dims(), matrix.dims());
        if let Some(offset) = &offset {
            found += &format!(", bias {:?}", offset.dims());
        }
        return Err(Error::shape("Linear", found, "x (.., I), weight (O, I), bias (O)"));
    }
    let (outputs, inputs) = matrix.dims2()?;
    let rows = array.elem_count() / inputs.max(1);
    // Where our kernels multiply in bf16, they round the operands as they read them.
    let brief =
        mode::current().autocast || (array.dtype() == DType::BF16 && matrix.dtype() == DType::BF16);
    let fused = brief && cpu::is_native(&array) && is_brief(&array) && is_brief(&matrix);
    let (left, right) =
        if fused { (array.clone(), matrix.clone()) } else { operands(&array, &matrix)? };
    let type_y = if fused { DType::BF16 } else { left.dtype() };
    let left = left.reshape((rows, inputs))?;
    let mut dims = array.dims().to_vec();
    let last = dims.len() - 1;
    dims[last] = outputs;
    let output = layer(&left, &right.t()?, offset.as_ref(), type_y, fused)?.reshape(dims)?;
    let needs = (x.is_tracked(), weight.is_tracked(), bias.is_some_and(Tensor::is_tracked));
    let (type_x, type_w) = (array.dtype(), matrix.dtype());
    let type_b = offset.as_ref().map_or(type_w, Array::dtype);
    let dims_x = array.dims().to_vec();
    let tracked: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(tape::record("Linear", &tracked, output, move |grad| {
        let grad = grad.cast(type_y)?.reshape((rows, outputs))?;
        let target = |dtype: DType| if fused { dtype } else { type_y };
        let grad_x = || -> Result<Array> {
            let grad = layer(&grad, &right, None, target(type_x), fused)?;
            grad.reshape(dims_x)?.cast(type_x)
        };
        let grad_w = || -> Result<Array> {
            layer(&grad.t()?, &left, None, target(type_w), fused)?.cast(type_w)
        };
        let grad_b = || reduce_to(&grad, &[outputs], type_b);
        Ok(vec![
            needs.0.then(grad_x).transpose()?,
            needs.1.then(grad_w).transpose()?,
            needs.2.then(grad_b).transpose()?,
        ])
    }))
}

fn is_brief(array: &Array) -> bool {
    matches!(array.dtype(), DType::F32 | DType::BF16)
}

/// a b + bias of matrices of any strides, in type `to`; `fused` rounds f32 operands to bf16.
fn layer(a: &Array, b: &Array, bias: Option<&Array>, to: DType, fused: bool) -> Result<Array> {
    if !cpu::is_native(a) {
        let output = product(a, b)?;
        return match bias {
            // Nobody else has the product.
            Some(bias) if cuda::takes(&output) => cuda::add_bias(&output, bias),
            Some(bias) => Ok(output.broadcast_add(&bias.cast(output.dtype())?)?),
            None => Ok(output),
        };
    }
    if !fused {
        let bias = bias.map(|bias| bias.cast(to)).transpose()?;
        return with_real!("Linear", to, T => kernel::<T>(a, b, bias.as_ref()));
    }
    let bias = bias.map(|bias| bias.cast(DType::F32)).transpose()?;
    let bias = bias.as_ref();
    match (a.dtype() == DType::F32, b.dtype() == DType::F32, to == DType::F32) {
        (true, true, true) => kernel_bf16::<f32, f32, f32>(a, b, bias),
        (true, true, false) => kernel_bf16::<f32, f32, bf16>(a, b, bias),
        (true, false, true) => kernel_bf16::<f32, bf16, f32>(a, b, bias),
        (true, false, false) => kernel_bf16::<f32, bf16, bf16>(a, b, bias),
        (false, true, true) => kernel_bf16::<bf16, f32, f32>(a, b, bias),
        (false, true, false) => kernel_bf16::<bf16, f32, bf16>(a, b, bias),
        (false, false, true) => kernel_bf16::<bf16, bf16, f32>(a, b, bias),
        (false, false, false) => kernel_bf16::<bf16, bf16, bf16>(a, b, bias),
    }
}

fn kernel<T: Real>(a: &Array, b: &Array, bias: Option<&Array>) -> Result<Array> {
    let (m, k) = a.dims2()?;
    let n = b.dims()[1];
    let bias = bias.map(|bias| Elements::of(bias)?.read(<[T]>::to_vec)).transpose()?;
    let output = cpu::view(a, |a: &[T], strides_a| {
        cpu::view(b, |b: &[T], strides_b| {
            let threads = rayon::current_num_threads();
            let (a, b) = (Matrix::of(a, strides_a), Matrix::of(b, strides_b));
            cpu::matmul(a, b, (m, k, n), bias.as_deref(), threads)
        })
    })??;
    cpu::from_vec(output, (m, n))
}

fn kernel_bf16<A, B, O>(a: &Array, b: &Array, bias: Option<&Array>) -> Result<Array>
where
    A: Brief + WithDType,
    B: Brief + WithDType,
    O: Brief + WithDType,
{
    let (m, k) = a.dims2()?;
    let n = b.dims()[1];
    let bias = bias.map(|bias| Elements::of(bias)?.read(<[f32]>::to_vec)).transpose()?;
    let start = bias.as_ref().map_or(Start::Zero, |bias| Start::Bias(bias));
    let mut output = cpu::unwritten::<O>(m * n);
    cpu::view(a, |a: &[A], strides_a| {
        cpu::view(b, |b: &[B], strides_b| {
            let threads = rayon::current_num_threads();
            let (a, b) = (Matrix::of(a, strides_a), Matrix::of(b, strides_b));
            cpu::matmul_bf16_into(&mut output, a, b, (m, k, n), start, threads);
        })
    })??;
    cpu::from_vec(output, (m, n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Device, Parameter, backward};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[5, 4], &[5]]), |x| linear(&x[0], &x[1], Some(&x[2])));
        check(Case::of(&[&[3, 4], &[2, 4]]), |x| linear(&x[0], &x[1], None));
        check(Case::of(&[&[4], &[2, 4], &[2]]), |x| linear(&x[0], &x[1], Some(&x[2])));
    }

    #[test]
    fn autocast_answers_in_bf16_and_keeps_gradients_in_f32() {
        let x = crate::gate::noise((4, 8));
        let w = Parameter::trainable("w", crate::gate::noise((3, 8)));
        let b = Parameter::trainable("b", crate::gate::noise(3));
        scope(Mode { autocast: true, ..current() }, || {
            let [x, w_now, b_now] =
                [Tensor::constant(x), Tensor::parameter(&w), Tensor::parameter(&b)];
            let y = linear(&x, &w_now, Some(&b_now)).unwrap();
            assert_eq!(y.dtype(), DType::BF16);
            let row = Tensor::constant(Array::ones((1, 4), DType::F32, &Device::Cpu).unwrap());
            let column = Tensor::constant(Array::ones((1, 3), DType::F32, &Device::Cpu).unwrap());
            let sum = crate::ops::matmul(&row, &y).unwrap();
            let gradients = backward(&linear(&sum, &column, None).unwrap()).unwrap();
            assert_eq!(gradients.get(&w).unwrap().dtype(), DType::F32);
            let b = gradients.get(&b).unwrap();
            assert_eq!(b.to_vec1::<f32>().unwrap(), [4.0; 3]);
        });
    }

    #[test]
    fn widths_that_differ_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        for (x, w, b) in [
            (&[2, 3][..], &[4, 5][..], None),
            (&[2, 3], &[4, 3], Some(zeros(&[3]))),
            (&[], &[4, 3], None),
            (&[3], &[3], None),
        ] {
            let message = linear(&zeros(x), &zeros(w), b.as_ref()).unwrap_err().to_string();
            assert!(message.contains(&format!("x {x:?}, weight {w:?}")), "{message}");
        }
    }
}
