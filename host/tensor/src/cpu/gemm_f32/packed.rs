//! A right matrix that is packed once.

use super::{Block, Left, ROWS, WIDE, lanes};
use crate::cpu::panels::{Shared, divide};
use crate::cpu::{Aligned, Matrix};

/// A right matrix (k x n) that was packed before, for many products with it.
pub struct Packed {
    panels: Aligned<f32>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Of any contents, for someone who writes all of its panels.
    pub fn unwritten(k: usize, n: usize) -> Self {
        let width = Self::width();
        Self { panels: Aligned::unwritten(n.div_ceil(width) * width * k), k, n }
    }

    /// Columns of a panel.
    pub fn width() -> usize {
        WIDE * lanes()
    }

    /// The panels, (k, width) each; what is behind the last column is not used, but must be finite.
    pub fn panels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.panels.chunks_exact_mut((self.k * Self::width()).max(1))
    }

    /// `out` (row-major m x n) = a (m x k) times this, on the calling thread.
    ///
    /// # Panics
    /// A slice is shorter than its matrix.
    pub fn multiply_into(&self, out: &mut [f32], a: Matrix<'_, f32>, m: usize) {
        let Self { k, n, .. } = *self;
        assert!(k > 0 && a.covers(m, k) && out.len() >= m * n, "matrix outside its slice");
        let width = Self::width();
        let shared = Shared(out.as_mut_ptr());
        let a = Left::Matrix(a);
        for depth in a.passes(k) {
            let tile = (ROWS, !a.lies_ready(depth.len()));
            divide((m, n.div_ceil(width)), tile, 1, |rows, panels| {
                pulp::Arch::new().dispatch(Block {
                    out: &shared,
                    stride: n,
                    a,
                    packed: &self.panels[depth.start * width..],
                    panel: k * width,
                    rows,
                    panels,
                    depth: depth.clone(),
                    bias: None,
                    add: depth.start > 0,
                });
            });
        }
    }
}
