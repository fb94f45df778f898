//! Repetition of dimensions of size 1.

use super::broadcast::{self, reduce_to};
use crate::{Error, Result, Tensor, tape};

/// Repeats dimensions of size 1 up to `shape`, prepending missing ones. A view.
///
/// # Errors
/// A dimension is neither 1 nor that of `shape`, or `x` has more dimensions.
pub fn broadcast_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let array = x.array();
    let dims = array.dims().to_vec();
    if !broadcast::shape("BroadcastTo", &dims, shape).is_ok_and(|met| met == shape) {
        let expected = "a shape that the dimensions of size 1 can be repeated to";
        return Err(Error::shape("BroadcastTo", format!("{dims:?} to {shape:?}"), expected));
    }
    let dtype = array.dtype();
    let output = array.broadcast_as(shape)?;
    Ok(tape::record("BroadcastTo", &[x], output, move |grad| {
        Ok(vec![Some(reduce_to(grad, &dims, dtype)?)])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{Array, DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 1, 3]]), |x| broadcast_to(&x[0], &[4, 2, 3, 3]));
        check(Case::of(&[&[2, 3]]), |x| broadcast_to(&x[0], &[2, 2, 3]));
    }

    #[test]
    fn other_sizes_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        for shape in [&[2, 4][..], &[3], &[1, 3], &[2, 1]] {
            let message = broadcast_to(&x, shape).unwrap_err().to_string();
            assert!(message.contains("[2, 3] to"), "{message}");
        }
    }
}
