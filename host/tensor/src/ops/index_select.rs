//! Whole slices of one dimension.

use super::index::{checked, pick, pick_adjoint, portable_adjoint};
use super::shape;
use crate::cpu::{self, Elements};
use crate::{Array, Error, Result, Tensor, tape};

/// Slices of `dim` in the order of `index` (i64, rank 1).
///
/// # Errors
/// The index has another rank, or an entry outside the dimension.
pub fn index_select(x: &Tensor, index: &Tensor, dim: i64) -> Result<Tensor> {
    let array = x.array();
    let dim = shape::dim("IndexSelect", dim, array.rank())?;
    if index.rank() != 1 {
        let found = format!("an index of shape {:?}", index.dims());
        return Err(Error::shape("IndexSelect", found, "rank 1"));
    }
    let size = array.dims()[dim];
    let index = checked("IndexSelect", index, size)?;
    if !cpu::is_native(&array) {
        let output = array.contiguous()?.index_select(&index, dim)?;
        return Ok(tape::record("IndexSelect", &[x], output, move |grad| {
            Ok(vec![Some(portable_adjoint(grad, dim, &index, size)?)])
        }));
    }
    let table = table(&index)?;
    let output = pick(&array, dim, &table)?;
    Ok(tape::record("IndexSelect", &[x], output, move |grad| {
        Ok(vec![Some(pick_adjoint(grad, dim, &table, size)?)])
    }))
}

fn table(index: &Array) -> Result<Vec<usize>> {
    Elements::of(index)?.read(|index: &[i64]| index.iter().map(|index| *index as usize).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check, here};
    use crate::{DType, Device};

    fn index(values: &[i64]) -> Tensor {
        Tensor::constant(Array::new(values, &Device::Cpu).unwrap())
    }

    #[test]
    fn gradient() {
        check(Case::of(&[&[3, 2, 3]]), |x| index_select(&x[0], &here(&index(&[2, 0, 2, 2])), 0));
        check(Case::of(&[&[2, 4, 3]]), |x| index_select(&x[0], &here(&index(&[3, 1])), 1));
        check(Case::of(&[&[2, 3]]), |x| index_select(&x[0], &here(&index(&[1, 1, 0])), -1));
    }

    #[test]
    fn an_index_that_is_a_view_is_read_where_it_lies() {
        check(Case::of(&[&[3, 2]]), |x| {
            let entries = here(&index(&[9, 1, 2])).array().narrow(0, 1, 2)?;
            index_select(&x[0], &Tensor::constant(entries), 0)
        });
    }

    #[test]
    fn bad_indices_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let refused = |index: &Tensor| index_select(&x, index, 1).unwrap_err().to_string();
        assert_eq!(refused(&index(&[0, 3])), "IndexSelect: index 3 outside 0..3");
        assert!(refused(&x).contains("an index of shape [2, 3]"));
    }
}
