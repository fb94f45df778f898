//! What tells of collapse.

use crate::{Result, Tensor};

/// Entropies of assignments (.., K): that of a single one on average (0: one prototype each), and that
/// of their mean (0: the same prototype for all; at most log K).
pub fn assignment_entropies(assignments: &Tensor) -> Result<(Tensor, Tensor)> {
    let entropy = |p: &Tensor| -> Result<Tensor> {
        p.mul(&p.clamp(1e-12, 1.0)?.log()?)?.sum(&[-1], false)?.mean_all()?.neg()
    };
    let all: Vec<i64> = (0..assignments.dims().len() as i64 - 1).collect();
    Ok((entropy(assignments)?, entropy(&assignments.mean(&all, false)?)?))
}
