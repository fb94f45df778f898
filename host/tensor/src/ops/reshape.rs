//! The same elements in another shape.

use crate::cpu::contiguous;
use crate::{Array, Error, Result, Tensor, tape};

/// The elements of `x` in row-major order with another shape; one -1 is inferred. A view where `x`
/// is row-major or only dimensions of size 1 come and go, else one copy.
///
/// # Errors
/// The shape has two -1, another negative size, or another number of elements.
pub fn reshape(x: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let array = x.array();
    let dims = array.dims().to_vec();
    let shape = resolve(&dims, shape)?;
    if shape == dims {
        return Ok(x.clone());
    }
    let output = shaped(&array, &shape)?;
    Ok(tape::record("Reshape", &[x], output, move |grad| Ok(vec![Some(shaped(grad, &dims)?)])))
}

/// x in a shape of as many elements.
fn shaped(x: &Array, shape: &[usize]) -> Result<Array> {
    let sizes = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|size| *size != 1).collect()
    };
    if x.is_contiguous() || sizes(x.dims()) != sizes(shape) {
        return Ok(contiguous(x)?.reshape(shape)?);
    }
    // A slice of permuted heads stays where it lies: kernels read any strides.
    let mut view = x.clone();
    for axis in (0..x.rank()).rev().filter(|axis| x.dims()[*axis] == 1) {
        view = view.squeeze(axis)?;
    }
    for axis in (0..shape.len()).filter(|axis| shape[*axis] == 1) {
        view = view.unsqueeze(axis)?;
    }
    Ok(view)
}

fn resolve(dims: &[usize], shape: &[i64]) -> Result<Vec<usize>> {
    let refuse = || {
        let expected = format!("a shape of {} elements", dims.iter().product::<usize>());
        Error::shape("Reshape", format!("{dims:?} to {shape:?}"), expected)
    };
    let count: usize = dims.iter().product();
    let mut known = 1usize;
    let mut inferred = None;
    for (axis, size) in shape.iter().enumerate() {
        match usize::try_from(*size) {
            Ok(size) => known = known.checked_mul(size).ok_or_else(refuse)?,
            Err(_) if *size == -1 && inferred.is_none() => inferred = Some(axis),
            Err(_) => return Err(refuse()),
        }
    }
    let mut resolved: Vec<usize> = shape.iter().map(|size| *size as usize).collect();
    match inferred {
        Some(axis) if known > 0 && count.is_multiple_of(known) => resolved[axis] = count / known,
        None if known == count => {}
        _ => return Err(refuse()),
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4]]), |x| reshape(&x[0], &[4, -1]));
        check(Case::of(&[&[2, 3, 4]]), |x| reshape(&x[0], &[2, 3, 2, 2]));
        check(Case::of(&[&[2, 1, 3, 4]]), |x| reshape(&x[0], &[2, 3, 1, 4, 1]));
    }

    #[test]
    fn dimensions_of_size_one_come_and_go_without_a_copy() {
        let x = crate::gate::noise((2, 3, 1, 4, 5)).permute((3, 0, 2, 4, 1)).unwrap();
        let x = x.narrow(0, 2, 1).unwrap();
        for shape in [&[2, 5, 3][..], &[2, 1, 1, 5, 3, 1], &[1, 2, 5, 3]] {
            let found = shaped(&x, shape).unwrap();
            assert_eq!(found.dims(), shape);
            assert!(!found.is_contiguous());
            let expected = x.contiguous().unwrap().flatten_all().unwrap();
            let flat = found.contiguous().unwrap().flatten_all().unwrap();
            assert_eq!(flat.to_vec1::<f32>().unwrap(), expected.to_vec1::<f32>().unwrap());
        }
        let one = x.narrow(1, 0, 1).unwrap().narrow(3, 1, 1).unwrap().narrow(4, 0, 1).unwrap();
        assert_eq!(shaped(&one, &[]).unwrap().rank(), 0);
    }

    #[test]
    fn sizes_are_inferred_or_refused() {
        assert_eq!(resolve(&[2, 6], &[3, -1]).unwrap(), [3, 4]);
        assert_eq!(resolve(&[1], &[]).unwrap(), [0usize; 0]);
        assert_eq!(resolve(&[0, 3], &[3, 0]).unwrap(), [3, 0]);
        for shape in [&[5, -1][..], &[-1, -1], &[-2, 6], &[12, 2], &[0, -1], &[i64::MAX, 4]] {
            let message = resolve(&[2, 6], shape).unwrap_err().to_string();
            assert!(message.contains("[2, 6] to") && message.contains("12 elements"), "{message}");
        }
    }
}
