//! Mean over dimensions.

use super::broadcast::float;
use crate::{Result, Tensor};

/// Mean over `dims` (all if empty). Half types are added up in f32; under autocast the result stays f32.
///
/// # Errors
/// A dimension does not exist or repeats, or the elements are integers.
pub fn mean(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    float("Mean", &x.array())?;
    super::sum::scaled_sum("Mean", x, dims, keepdim, |terms| 1.0 / terms as f64)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        for dims in [&[][..], &[-1], &[0], &[1], &[0, 2]] {
            check(Case::of(&[&[2, 3, 4]]), |x| super::mean(&x[0], dims, false));
            check(Case::of(&[&[2, 3, 4]]), |x| super::mean(&x[0], dims, true));
        }
    }
}
