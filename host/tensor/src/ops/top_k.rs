//! The largest or smallest entries of the last dimension.

use crate::{Error, Result, Tensor};

/// The `k` largest (or smallest) of the last dimension, in order. Outputs: values and indices (i64).
/// Of equal values the first comes first; NaN counts as the largest.
///
/// # Errors
/// `k` exceeds the last dimension, or the elements are integers.
pub fn top_k(x: &Tensor, k: usize, largest: bool) -> Result<Vec<Tensor>> {
    let array = x.array();
    if array.dims().last().is_some_and(|len| k > *len) {
        return Err(Error::attribute("TopK", format!("k = {k} of a tensor of {:?}", array.dims())));
    }
    super::sort::first("TopK", x, &array, k, largest)
}

#[cfg(test)]
mod tests {
    use crate::gate::{Case, check};
    use crate::{Array, DType, Device, Tensor};

    #[test]
    fn gradient() {
        // bf16 makes ties of values that f64 tells apart.
        let case = || Case::of(&[&[2, 3, 7]]).without_bf16();
        check(case(), |x| Ok(super::top_k(&x[0], 3, true)?.remove(0)));
        check(case(), |x| Ok(super::top_k(&x[0], 2, false)?.remove(0)));
    }

    #[test]
    fn more_than_there_are_is_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let message = super::top_k(&x, 4, true).unwrap_err().to_string();
        assert_eq!(message, "TopK: k = 4 of a tensor of [2, 3]");
        assert_eq!(super::top_k(&x, 0, true).unwrap()[0].dims(), [2, 0]);
        let scalar = Tensor::constant(Array::new(1f32, &Device::Cpu).unwrap());
        assert!(super::top_k(&scalar, 1, true).is_err());
    }
}
