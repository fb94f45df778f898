//! Batched matrix product.

use super::broadcast::{promote, reduce_to, shape};
use crate::{Array, DType, Error, Result, Tensor, mode, tape};

/// a b over the last two dimensions; leading dimensions broadcast. Under autocast both are bf16.
///
/// # Errors
/// An operand has fewer than two dimensions, or the inner sizes differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let (dims_a, dims_b) = (array_a.dims(), array_b.dims());
    if dims_a.len() < 2 || dims_b.len() < 2 || dims_a[dims_a.len() - 1] != dims_b[dims_b.len() - 2]
    {
        return Err(Error::shape(
            "Matmul",
            format!("{dims_a:?} and {dims_b:?}"),
            "(.., n, k) and (.., k, m)",
        ));
    }
    let (left, right) = operands(&array_a, &array_b)?;
    let output = product(&left, &right)?;
    let needs = (a.is_tracked(), b.is_tracked());
    let (dims_a, dims_b) = (dims_a.to_vec(), dims_b.to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    Ok(tape::record("Matmul", &[a, b], output, move |grad| {
        let grad = grad.to_dtype(left.dtype())?;
        let grad_a = || reduce_to(&product(&grad, &right.t()?)?, &dims_a, type_a);
        let grad_b = || reduce_to(&product(&left.t()?, &grad)?, &dims_b, type_b);
        Ok(vec![needs.0.then(grad_a).transpose()?, needs.1.then(grad_b).transpose()?])
    }))
}

/// The operands in the type in which they are multiplied.
pub(crate) fn operands(a: &Array, b: &Array) -> Result<(Array, Array)> {
    let (a, b) = promote(a, b)?;
    if mode::current().autocast && a.dtype() == DType::F32 {
        return Ok((a.to_dtype(DType::BF16)?, b.to_dtype(DType::BF16)?));
    }
    Ok((a, b))
}

/// The product of arrays of one type; candle's CPU backend has no bf16 GEMM, so there the
/// operands, already rounded to bf16, are multiplied in f32 and the result is rounded.
pub(crate) fn product(a: &Array, b: &Array) -> Result<Array> {
    let (dims_a, dims_b) = (a.dims(), b.dims());
    let (lead_a, tail_a) = dims_a.split_at(dims_a.len() - 2);
    let (lead_b, tail_b) = dims_b.split_at(dims_b.len() - 2);
    let (a, b) = if lead_a == lead_b {
        (a.clone(), b.clone())
    } else {
        let lead = shape("Matmul", lead_a, lead_b)?;
        let join = |tail: &[usize]| [lead.as_slice(), tail].concat();
        (a.broadcast_as(join(tail_a))?, b.broadcast_as(join(tail_b))?)
    };
    if a.device().is_cpu() && a.dtype() == DType::BF16 {
        let wide = multiply(&a.to_dtype(DType::F32)?, &b.to_dtype(DType::F32)?)?;
        return Ok(wide.to_dtype(DType::BF16)?);
    }
    multiply(&a, &b)
}

/// candle refuses some strided operands; those are copied.
fn multiply(a: &Array, b: &Array) -> Result<Array> {
    a.matmul(b).or_else(|_| a.contiguous()?.matmul(&b.contiguous()?)).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Device, Parameter, backward};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3], &[3, 4]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[2, 2, 3, 4], &[2, 2, 4, 3]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[2, 1, 3, 4], &[3, 4, 2]]), |x| matmul(&x[0], &x[1]));
    }

    #[test]
    fn autocast_multiplies_in_bf16_and_returns_f32_gradients() {
        let x = Array::randn(0f32, 1.0, (4, 8), &Device::Cpu).unwrap();
        let w = Parameter::trainable("w", Array::randn(0f32, 1.0, (8, 3), &Device::Cpu).unwrap());
        scope(Mode { autocast: true, ..current() }, || {
            let y = matmul(&Tensor::constant(x), &Tensor::parameter(&w)).unwrap();
            assert_eq!(y.dtype(), DType::BF16);
            let ones = Tensor::constant(Array::ones((1, 4), DType::F32, &Device::Cpu).unwrap());
            let row = matmul(&ones, &y).unwrap();
            let loss = matmul(
                &row,
                &Tensor::constant(Array::ones((3, 1), DType::F32, &Device::Cpu).unwrap()),
            );
            let gradients = backward(&loss.unwrap()).unwrap();
            assert_eq!(gradients.get(&w).unwrap().dtype(), DType::F32);
        });
    }

    #[test]
    fn inner_sizes_that_differ_are_named() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let message = matmul(&x, &x).unwrap_err().to_string();
        assert!(message.contains("[2, 3] and [2, 3]"), "{message}");
    }
}
