//! Concatenation.

use super::broadcast::promote;
use super::shape;
use crate::cpu::{self, copy};
use crate::{Array, Error, Result, Tensor, tape};

/// Joins `inputs` along `dim`; floats meet in the widest type among them.
///
/// # Errors
/// There is no input, or shapes differ in another dimension.
pub fn cat(inputs: &[&Tensor], dim: i64) -> Result<Tensor> {
    let arrays: Vec<Array> = inputs.iter().map(|input| input.array()).collect();
    let Some(first) = arrays.first() else {
        return Err(Error::Inputs { op: "Cat", found: 0, expected: "1 or more" });
    };
    let dim = shape::dim("Cat", dim, first.rank())?;
    let mut dims = first.dims().to_vec();
    for array in &arrays[1..] {
        let mut fits = array.dims().to_vec();
        let len =
            if fits.len() == dims.len() { std::mem::replace(&mut fits[dim], dims[dim]) } else { 0 };
        if fits != dims {
            return Err(Error::shape(
                "Cat",
                format!("{:?} beside {:?}", array.dims(), first.dims()),
                format!("equal sizes but for dimension {dim}"),
            ));
        }
        dims[dim] += len;
    }
    let output = join(&arrays, &dims, dim)?;
    let needs: Vec<_> = inputs
        .iter()
        .zip(&arrays)
        .map(|(input, array)| (input.is_tracked(), array.dims()[dim], array.dtype()))
        .collect();
    Ok(tape::record("Cat", inputs, output, move |grad| {
        let mut start = 0;
        needs
            .into_iter()
            .map(|(needed, len, dtype)| {
                let from = start;
                start += len;
                let part = || cpu::convert(&grad.narrow(dim, from, len)?, dtype);
                needed.then(part).transpose()
            })
            .collect()
    }))
}

fn join(arrays: &[Array], dims: &[usize], dim: usize) -> Result<Array> {
    let mut widest = arrays[0].clone();
    for array in &arrays[1..] {
        let empty = array.narrow(dim, 0, 0)?;
        widest = promote(&widest.narrow(dim, 0, 0)?, &empty)?.0;
    }
    let arrays =
        arrays.iter().map(|x| cpu::convert(x, widest.dtype())).collect::<Result<Vec<_>>>()?;
    if !cpu::is_native(&arrays[0]) {
        return Ok(Array::cat(&arrays, dim)?);
    }
    let mut start = 0;
    let parts: Vec<(usize, Array)> = arrays
        .into_iter()
        .map(|array| {
            let place = start;
            start += array.dims()[dim];
            (place, array)
        })
        .collect();
    copy::assemble(dims, dim, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::{DType, Device};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 2], &[2, 1, 2], &[2, 2, 2]]), |x| {
            cat(&[&x[0], &x[1], &x[2], &x[0]], 1)
        });
        check(Case::of(&[&[2, 3], &[4, 3]]), |x| cat(&[&x[0], &x[1]], 0));
        check(Case::of(&[&[2, 3], &[2, 1]]), |x| cat(&[&x[0], &x[1]], -1));
    }

    #[test]
    fn types_meet_in_the_widest() {
        let x = |dtype| Tensor::constant(Array::ones((2, 2), dtype, &Device::Cpu).unwrap());
        let (half, single) = (x(DType::BF16), x(DType::F32));
        assert_eq!(cat(&[&half, &single, &half], 0).unwrap().dtype(), DType::F32);
        assert_eq!(cat(&[&half, &half], 0).unwrap().dtype(), DType::BF16);
        let indices = x(DType::I64);
        assert_eq!(cat(&[&indices, &indices], 1).unwrap().dims(), [2, 4]);
    }

    #[test]
    fn shapes_that_differ_elsewhere_are_refused() {
        let x = |shape: &[usize]| {
            Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
        };
        let message = cat(&[&x(&[2, 3]), &x(&[3, 3])], 1).unwrap_err().to_string();
        assert!(message.contains("[3, 3] beside [2, 3]"), "{message}");
        assert!(cat(&[&x(&[2, 3]), &x(&[2])], 0).is_err());
        assert!(cat(&[], 0).is_err());
    }
}
