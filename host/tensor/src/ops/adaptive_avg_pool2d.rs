//! Average pooling to a given size.

use super::avg_pool2d::{Bins, mean_of_boxes};
use super::geometry::map_dims;
use crate::{Error, Result, Tensor};

/// Mean of x (B, H, W, C) over `output` bins of near-equal size: bin i of n covers the positions
/// from floor(i H / n) to ceil((i + 1) H / n).
///
/// # Errors
/// x is no map of floats, or an output size is 0.
pub fn adaptive_avg_pool2d(x: &Tensor, output: [usize; 2]) -> Result<Tensor> {
    const OP: &str = "AdaptiveAvgPool2d";
    let [_, height, width, _] = map_dims(OP, &x.array())?;
    if output.iter().any(|size| !(1..=1 << 20).contains(size)) {
        return Err(Error::attribute(
            OP,
            format!("output {output:?}; expected sizes from 1 to a million"),
        ));
    }
    let bins = [(height, output[0]), (width, output[1])].map(|(input, output)| {
        let ranges =
            (0..output).map(|bin| (bin * input / output, ((bin + 1) * input).div_ceil(output)));
        Bins::new(input, ranges, None)
    });
    mean_of_boxes(OP, x, bins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{Array, DType, Device};

    #[test]
    fn gradient() {
        for output in [[1, 1], [2, 3], [5, 4], [7, 2]] {
            check(Case::of(&[&[2, 5, 4, 2]]), |x| adaptive_avg_pool2d(&x[0], output));
        }
    }

    #[test]
    fn no_output_is_refused() {
        let x = Tensor::constant(Array::ones((1, 2, 2, 1), DType::F32, &Device::Cpu).unwrap());
        let error = adaptive_avg_pool2d(&x, [0, 1]).unwrap_err().to_string();
        assert!(error.contains("output [0, 1]"), "{error}");
    }
}
