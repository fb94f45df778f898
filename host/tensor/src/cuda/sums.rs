//! Sums over dimensions, with the same bits in each run.

use super::Argument::{Float, Int, Read, Write};
use super::{Argument, Grid, empty, files, is_packed, kernel, launch};
use crate::reduction::{groups, last_reduced};
use crate::{Array, DType, Result};

/// The sum of each column of x (rows, width), in f32: (width).
pub(crate) fn column_sums(x: &Array) -> Result<Array> {
    let (rows, width) = x.dims2()?;
    Ok(reduce(&x.contiguous()?, (1, rows, width), 1.0)?.reshape(width)?)
}

/// `scale` times the sum over `dims`, which stay with size 1, in f32.
pub(crate) fn sum(x: &Array, dims: &[usize], scale: f64) -> Result<Array> {
    let mut groups = groups(x.dims(), dims);
    let mut sums = x.contiguous()?;
    // What is left to multiply by, once.
    let mut factor = scale;
    while let Some(sizes) = last_reduced(&mut groups) {
        sums = reduce(&sums, sizes, factor)?;
        factor = 1.0;
    }
    let mut shape = x.dims().to_vec();
    dims.iter().for_each(|dim| shape[*dim] = 1);
    let sums = sums.to_dtype(DType::F32)?.reshape(shape)?;
    if factor == 1.0 { Ok(sums) } else { Ok((sums * factor)?) }
}

/// Blocks that a grid may have in z.
const MOST: usize = 65_535;

/// `scale` times the sums over the middle of whole x (outer, terms, inner): (outer, inner).
fn reduce(x: &Array, (outer, terms, inner): (usize, usize, usize), scale: f64) -> Result<Array> {
    if inner == 1 {
        let sums = empty(outer, DType::F32, x.device())?;
        let packed = is_packed(terms, &[x]);
        let name = kernel("row_sums", &[x.dtype()]);
        let arguments =
            [Write(&sums), Read(x), Argument::size(terms), Float(scale as f32), Int(packed.into())];
        launch(&files::SUMS, &name, Grid::rows(outer, terms), &arguments)?;
        return Ok(sums);
    }
    if outer > MOST {
        let sums = x.reshape((outer, terms, inner))?.to_dtype(DType::F32)?.sum(1)?;
        return if scale == 1.0 { Ok(sums) } else { Ok((sums * scale)?) };
    }
    let grid = Grid::columns(outer, terms, inner);
    let parts = grid.blocks[1];
    let sums = empty((outer, parts, inner), DType::F32, x.device())?;
    launch(
        &files::SUMS,
        &kernel("column_sums", &[x.dtype()]),
        grid,
        &[Write(&sums), Read(x), Argument::size(terms), Argument::size(inner), Float(scale as f32)],
    )?;
    if parts == 1 {
        return Ok(sums);
    }
    // Of what is left, until it is one part.
    reduce(&sums, (outer, parts, inner), 1.0)
}
