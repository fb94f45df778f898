//! Dimensions in another order.

use super::shape;
use crate::{Error, Result, Tensor, tape};

/// Dimension i of the result is dimension `dims[i]` of `x`. A view.
///
/// # Errors
/// `dims` is no permutation of the dimensions.
pub fn permute(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    let array = x.array();
    let rank = array.rank();
    let order = dims.iter().map(|d| shape::dim("Permute", *d, rank)).collect::<Result<Vec<_>>>()?;
    let mut inverse = vec![rank; rank];
    order.iter().enumerate().for_each(|(to, from)| inverse[*from] = to);
    if order.len() != rank || inverse.contains(&rank) {
        let what = format!("{dims:?} is no order of the {rank} dimensions of {:?}", array.dims());
        return Err(Error::attribute("Permute", what));
    }
    let output = array.permute(order)?;
    Ok(tape::record("Permute", &[x], output, move |grad| Ok(vec![Some(grad.permute(inverse)?)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{Array, DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4, 2]]), |x| permute(&x[0], &[0, 2, 3, 1]));
        check(Case::of(&[&[2, 3, 4]]), |x| permute(&x[0], &[-1, 0, 1]));
    }

    #[test]
    fn what_is_no_permutation_is_refused() {
        let x = Tensor::constant(Array::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap());
        for dims in [&[0, 1][..], &[0, 1, 1], &[0, 1, 2, 2], &[0, 1, 3], &[0, 1, -1, 2]] {
            let message = permute(&x, dims).unwrap_err().to_string();
            assert!(message.starts_with("Permute: "), "{message}");
        }
    }
}
