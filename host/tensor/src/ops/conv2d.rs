//! Convolution over channels-last maps.

use super::convolution::{Convolution, bias_gradient, check_weight};
use super::geometry::{Geometry, Window, map_dims};
use super::matmul::operands;
use crate::cpu::Cast;
use crate::{Result, Tensor, tape};

/// Cross-correlation of x (B, H, W, I) with `weight` (O, I/groups, kh, kw), plus `bias` (O):
/// (B, OH, OW, O). Under autocast f32 operands are rounded to bf16, and so is the result.
///
/// # Errors
/// A shape does not fit, the window is larger than the padded map, or an element type is no float.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Geometry,
) -> Result<Tensor> {
    const OP: &str = "Conv2d";
    let (array_x, array_w) = (x.array(), weight.array());
    let array_b = bias.map(Tensor::array);
    let [batch, height, width, inputs] = map_dims(OP, &array_x)?;
    let (kernel, outputs) = check_weight(OP, &array_w, array_b.as_ref(), inputs, geometry, false)?;
    let window = Window::new(OP, [height, width], kernel, geometry)?;
    let convolution = Convolution { batch, window, inputs, outputs, groups: geometry.groups };
    let (left, right) = operands(&array_x, &array_w)?;
    let output = convolution.correlate(&left, &right, array_b.as_ref())?;
    let (type_x, type_w) = (array_x.dtype(), array_w.dtype());
    let type_b = bias.filter(|bias| bias.is_tracked()).and(array_b.map(|bias| bias.dtype()));
    let needs = (x.is_tracked(), weight.is_tracked());
    let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    Ok(tape::record(OP, &inputs, output, move |grad| {
        let grad = grad.cast(left.dtype())?;
        let grad_x = || -> Result<_> { convolution.spread(&grad, &right, None)?.cast(type_x) };
        let grad_w = || -> Result<_> { convolution.weight_gradient(&left, &grad)?.cast(type_w) };
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
    use crate::mode::{Mode, current, scope};
    use crate::{Array, DType, Device};

    fn passes(x: &[usize], weight: &[usize], geometry: Geometry) {
        check(Case::of(&[x, weight]), |x| conv2d(&x[0], &x[1], None, &geometry));
        // The gradient of a bias is a sum of values that cancel, no measure of bf16.
        let case = Case::of(&[x, weight, &[weight[0]]]).without_bf16();
        check(case, |x| conv2d(&x[0], &x[1], Some(&x[2]), &geometry));
    }

    #[test]
    fn gradient() {
        let plain = Geometry::PLAIN;
        passes(&[2, 4, 3, 3], &[2, 3, 3, 3], Geometry { padding: [1, 1], ..plain });
        passes(
            &[2, 5, 6, 2],
            &[3, 2, 2, 3],
            Geometry { stride: [2, 1], padding: [1, 0], dilation: [1, 2], ..plain },
        );
    }

    #[test]
    fn gradient_with_more_padding_than_the_window_reaches() {
        passes(&[2, 3, 2, 2], &[2, 2, 2, 1], Geometry { padding: [2, 1], ..Geometry::PLAIN });
        passes(
            &[2, 3, 2, 2],
            &[2, 1, 2, 1],
            Geometry { padding: [2, 1], groups: 2, ..Geometry::PLAIN },
        );
    }

    /// Enough of them for minimal filtering, in what the gate holds against f64.
    #[test]
    fn gradient_of_many_channels() {
        let padded = Geometry { padding: [1, 1], ..Geometry::PLAIN };
        passes(&[2, 3, 4, 16], &[16, 16, 3, 3], padded);
        passes(&[2, 2, 2, 16], &[17, 16, 3, 3], padded);
    }

    #[test]
    fn gradient_of_pointwise() {
        passes(&[2, 2, 3, 3], &[4, 3, 1, 1], Geometry::PLAIN);
        passes(&[2, 2, 3, 4], &[4, 2, 1, 1], Geometry { groups: 2, ..Geometry::PLAIN });
        passes(&[2, 3, 4, 2], &[3, 2, 1, 1], Geometry { stride: [2, 2], ..Geometry::PLAIN });
    }

    #[test]
    fn gradient_of_patches() {
        passes(&[2, 4, 7, 2], &[3, 2, 2, 3], Geometry { stride: [2, 3], ..Geometry::PLAIN });
    }

    #[test]
    fn gradient_of_groups() {
        let geometry = Geometry { padding: [1, 1], groups: 2, ..Geometry::PLAIN };
        passes(&[2, 3, 3, 4], &[6, 2, 3, 3], geometry);
        passes(&[2, 4, 3, 4], &[4, 2, 3, 2], Geometry { stride: [2, 2], ..geometry });
        // Four channels of a group at a time.
        passes(&[2, 3, 3, 8], &[4, 4, 3, 2], Geometry { stride: [1, 2], ..geometry });
    }

    #[test]
    fn gradient_of_depthwise() {
        let geometry = Geometry { padding: [1, 1], groups: 3, ..Geometry::PLAIN };
        passes(&[2, 3, 4, 3], &[3, 1, 3, 3], geometry);
        let wide = Geometry { stride: [2, 1], padding: [3, 2], dilation: [1, 2], groups: 18 };
        passes(&[2, 4, 3, 18], &[18, 1, 4, 2], wide);
        passes(&[2, 3, 10, 2], &[2, 1, 3, 7], Geometry { padding: [1, 3], groups: 2, ..geometry });
        // More lines, and more channels, than one block of the CUDA kernels has.
        passes(&[2, 12, 5, 4], &[4, 1, 5, 5], Geometry { padding: [2, 2], groups: 4, ..geometry });
        passes(&[2, 2, 3, 132], &[132, 1, 3, 3], Geometry { groups: 132, ..geometry });
    }

    /// Two channels per group are no depthwise convolution to the kernels.
    #[test]
    fn gradient_of_a_channel_multiplier() {
        let geometry = Geometry { padding: [1, 0], groups: 2, ..Geometry::PLAIN };
        passes(&[2, 3, 3, 2], &[4, 1, 2, 2], geometry);
    }

    fn zeros(shape: &[usize], dtype: DType) -> Tensor {
        Tensor::constant(Array::zeros(shape, dtype, &Device::Cpu).unwrap())
    }

    #[test]
    fn misfits_are_named() {
        let refuse = |x: &[usize], w: &[usize], b: &[usize], geometry: Geometry| {
            let [x, w, b] = [x, w, b].map(|shape| zeros(shape, DType::F32));
            conv2d(&x, &w, Some(&b), &geometry).unwrap_err().to_string()
        };
        let (plain, two) = (Geometry::PLAIN, Geometry { groups: 2, ..Geometry::PLAIN });
        let message = refuse(&[2, 4, 4, 3], &[8, 4, 3, 3], &[8], plain);
        assert!(message.contains("weight [8, 4, 3, 3]; expected a weight (O, 3, kh"), "{message}");
        let message = refuse(&[2, 4, 4, 3], &[8, 3, 3, 3], &[3], plain);
        assert!(message.contains("bias [3]; expected [8]"), "{message}");
        let message = refuse(&[2, 4, 4, 3], &[8, 3, 3, 3], &[8], two);
        assert!(message.contains("groups 2; expected a divisor of the 3 channels"), "{message}");
        let message = refuse(&[2, 4, 4, 3], &[8, 3, 5, 5], &[8], plain);
        assert!(message.contains("a map of 4x4"), "{message}");
        let message = refuse(&[4, 4, 3], &[8, 3, 5, 5], &[8], plain);
        assert!(message.contains("[4, 4, 3]; expected a map (B, H, W, C)"), "{message}");
        let integers = zeros(&[1, 4, 4, 3], DType::I64);
        let error = conv2d(&integers, &zeros(&[8, 3, 1, 1], DType::F32), None, &plain);
        assert!(error.unwrap_err().to_string().contains("I64"));
    }

    #[test]
    fn autocast_rounds_to_bf16_and_returns_f32_gradients() {
        let [x, w] = [[2, 3, 3, 2], [2, 2, 3, 3]]
            .map(|shape| tape::input(crate::gate::noise(shape.as_slice())));
        for portable in [false, true] {
            scope(Mode { autocast: true, portable, ..current() }, || {
                let y = conv2d(&x, &w, None, &Geometry::PLAIN).unwrap();
                assert_eq!(y.dtype(), DType::BF16);
                let roots = [(y.clone(), y.array().ones_like().unwrap())];
                let leaves = [x.clone(), w.clone()];
                let grads = tape::backward_from(&roots, &leaves, &mut Default::default()).unwrap();
                assert!(grads.iter().all(|grad| grad.as_ref().unwrap().dtype() == DType::F32));
            });
        }
    }
}
