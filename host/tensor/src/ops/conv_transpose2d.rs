//! Transposed convolution over channels-last maps.

use super::convolution::{Convolution, bias_gradient, check_weight};
use super::geometry::{Geometry, Window, map_dims};
use super::matmul::operands;
use crate::cpu::Cast;
use crate::{Result, Tensor, tape};

/// The adjoint of [`super::conv2d`]: x (B, H, W, I) with `weight` (I, O/groups, kh, kw), plus `bias`
/// (O), is (B, OH, OW, O) with OH = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 +
/// `output_padding`. Under autocast f32 operands are rounded to bf16, and so is the result.
///
/// # Errors
/// A shape does not fit, the padding leaves no output, `output_padding` is not below the stride or
/// the dilation, or an element type is no float.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
    output_padding: [usize; 2],
) -> Result<Tensor> {
    const OP: &str = "ConvTranspose2d";
    let (array_x, array_w) = (x.array(), weight.array());
    let array_b = bias.map(Tensor::array);
    let [batch, height, width, inputs] = map_dims(OP, &array_x)?;
    let (kernel, outputs) = check_weight(OP, &array_w, array_b.as_ref(), inputs, geometry, true)?;
    let input = [height, width];
    let output = geometry.transposed_output(OP, input, kernel, output_padding)?;
    // The convolution whose adjoint this is: from the map that comes out to the one that comes in.
    let Geometry { stride, padding, dilation, groups } = *geometry;
    let window = Window { input: output, output: input, kernel, stride, padding, dilation };
    let convolution = Convolution { batch, window, inputs: outputs, outputs: inputs, groups };
    let (left, right) = operands(&array_x, &array_w)?;
    let output = convolution.spread(&left, &right, array_b.as_ref())?;
    let (type_x, type_w) = (array_x.dtype(), array_w.dtype());
    let type_b = bias.filter(|bias| bias.is_tracked()).and(array_b.map(|bias| bias.dtype()));
    let needs = (x.is_tracked(), weight.is_tracked());
    let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(tape::record(OP, &inputs, output, move |grad| {
        let grad = grad.cast(left.dtype())?;
        let grad_x = || -> Result<_> { convolution.correlate(&grad, &right, None)?.cast(type_x) };
        let grad_w = || -> Result<_> { convolution.weight_gradient(&grad, &left)?.cast(type_w) };
        Ok(vec![
            needs.0.then(grad_x).transpose()?,
            needs.1.then(grad_w).transpose()?,
            type_b.map(|dtype| bias_gradient(&grad, dtype)).transpose()?,
        ])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{Array, DType, Device};

    fn passes(x: &[usize], weight: &[usize], geometry: Geometry, output_padding: [usize; 2]) {
        check(Case::of(&[x, weight]), |x| {
            conv_transpose2d(&x[0], &x[1], None, &geometry, output_padding)
        });
        // The gradient of a bias is a sum of values that cancel, no measure of bf16.
        let case = Case::of(&[x, weight, &[weight[1] * geometry.groups]]).without_bf16();
        check(case, |x| conv_transpose2d(&x[0], &x[1], Some(&x[2]), &geometry, output_padding));
    }

    #[test]
    fn gradient() {
        let plain = Geometry::PLAIN;
        passes(&[2, 3, 2, 3], &[3, 2, 3, 2], plain, [0, 0]);
        passes(&[2, 2, 3, 2], &[2, 3, 2, 2], Geometry { stride: [2, 2], ..plain }, [0, 0]);
        passes(
            &[2, 3, 3, 2],
            &[2, 2, 3, 2],
            Geometry { stride: [2, 3], padding: [1, 1], dilation: [1, 2], ..plain },
            [1, 2],
        );
    }

    #[test]
    fn gradient_of_groups() {
        let geometry = Geometry { stride: [2, 1], padding: [1, 0], groups: 2, ..Geometry::PLAIN };
        passes(&[2, 3, 2, 4], &[4, 3, 3, 2], geometry, [1, 0]);
        passes(&[2, 3, 2, 2], &[2, 1, 3, 3], geometry, [1, 0]);
    }

    #[test]
    fn misfits_are_named() {
        let zeros = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let refuse = |weight: &[usize], geometry: Geometry, output_padding| {
            let x = zeros(&[2, 2, 2, 3]);
            let result = conv_transpose2d(&x, &zeros(weight), None, &geometry, output_padding);
            result.unwrap_err().to_string()
        };
        let plain = Geometry::PLAIN;
        let message = refuse(&[8, 3, 2, 2], plain, [0, 0]);
        assert!(message.contains("weight [8, 3, 2, 2]; expected a weight (3, O/1"), "{message}");
        let message = refuse(&[3, 8, 2, 2], plain, [1, 0]);
        assert!(message.contains("output_padding [1, 0]"), "{message}");
        let message = refuse(&[3, 8, 1, 1], Geometry { padding: [1, 1], ..plain }, [0, 0]);
        assert!(message.contains("padding [1, 1] takes all"), "{message}");
    }
}
