//! Fully connected layer: x w^T + b.

use super::matmul::{operands, product};
use super::precision::wide;
use crate::{Array, Error, Result, Tensor, tape};

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
    let (left, right) = operands(&array, &matrix)?;
    let left = left.reshape((rows, inputs))?;
    let mut output = product(&left, &right.t()?)?;
    if let Some(offset) = &offset {
        output = output.broadcast_add(&offset.to_dtype(output.dtype())?)?;
    }
    let mut dims = array.dims().to_vec();
    let last = dims.len() - 1;
    dims[last] = outputs;
    let output = output.reshape(dims)?;
    let needs = (x.is_tracked(), weight.is_tracked(), bias.is_some_and(Tensor::is_tracked));
    let (type_x, type_w) = (array.dtype(), matrix.dtype());
    let type_b = offset.as_ref().map_or(type_w, Array::dtype);
    let dims_x = array.dims().to_vec();
    let tracked: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(tape::record("Linear", &tracked, output, move |grad| {
        let grad = grad.to_dtype(left.dtype())?.reshape((rows, outputs))?;
        let grad_x =
            || -> Result<Array> { Ok(product(&grad, &right)?.reshape(dims_x)?.to_dtype(type_x)?) };
        let grad_w = || -> Result<Array> { Ok(product(&grad.t()?, &left)?.to_dtype(type_w)?) };
        let grad_b = || -> Result<Array> { Ok(wide(&grad)?.sum(0)?.to_dtype(type_b)?) };
        Ok(vec![
            needs.0.then(grad_x).transpose()?,
            needs.1.then(grad_w).transpose()?,
            needs.2.then(grad_b).transpose()?,
        ])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{DType, Device, Parameter, backward};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4], &[5, 4], &[5]]), |x| linear(&x[0], &x[1], Some(&x[2])));
        check(Case::of(&[&[3, 4], &[2, 4]]), |x| linear(&x[0], &x[1], None));
        check(Case::of(&[&[4], &[2, 4], &[2]]), |x| linear(&x[0], &x[1], Some(&x[2])));
    }

    #[test]
    fn autocast_answers_in_bf16_and_keeps_gradients_in_f32() {
        let x = Array::randn(0f32, 1.0, (4, 8), &Device::Cpu).unwrap();
        let w = Parameter::trainable("w", Array::randn(0f32, 1.0, (3, 8), &Device::Cpu).unwrap());
        let b = Parameter::trainable("b", Array::randn(0f32, 1.0, 3, &Device::Cpu).unwrap());
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
