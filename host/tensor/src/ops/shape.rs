//! Dimensions counted from the end, and slices along one dimension.

use crate::{Error, Result};

/// Resolves a dimension that may be negative.
pub(crate) fn dim(op: &'static str, dim: i64, rank: usize) -> Result<usize> {
    let resolved = if dim < 0 { dim + rank as i64 } else { dim };
    match usize::try_from(resolved) {
        Ok(resolved) if resolved < rank => Ok(resolved),
        _ => Err(Error::attribute(op, format!("dimension {dim} of a tensor of rank {rank}"))),
    }
}

/// Resolves several; an empty list means all. Ascending, without repeats.
pub(crate) fn dims(op: &'static str, dims: &[i64], rank: usize) -> Result<Vec<usize>> {
    if dims.is_empty() {
        return Ok((0..rank).collect());
    }
    let mut resolved = dims.iter().map(|d| dim(op, *d, rank)).collect::<Result<Vec<_>>>()?;
    resolved.sort_unstable();
    if resolved.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::attribute(op, format!("dimensions {dims:?} repeat")));
    }
    Ok(resolved)
}

/// (product before, size, product after) of a dimension: how a row-major array is walked along it.
pub(crate) fn split(shape: &[usize], dim: usize) -> (usize, usize, usize) {
    (shape[..dim].iter().product(), shape[dim], shape[dim + 1..].iter().product())
}
