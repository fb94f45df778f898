//! The element types of convolutions, and their products.

use half::bf16;

use crate::cpu::{self, Gathered, Matrix, Real, Start, Vector};

/// Elements that products take as they are.
pub(super) trait Element: Real<Acc: Vector> + Default {
    /// out = start + a b, rounded once.
    fn product(
        out: &mut [Self],
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
        sizes: (usize, usize, usize),
        start: Start<'_, Self::Acc>,
        threads: usize,
    );
    /// out = start + a b in the type of the sums.
    fn sums(
        out: &mut [Self::Acc],
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
        sizes: (usize, usize, usize),
        start: Start<'_, Self::Acc>,
        threads: usize,
    );
    /// What the length of a run of [`Self::gathered`] must be a multiple of.
    const RUNS_OF: usize = 1;
    /// Whether [`Self::gathered`] is there, and pays for a product of these sizes.
    fn gathers(_sizes: (usize, usize, usize)) -> bool {
        false
    }
    /// [`Self::product`] of rows that are gathered.
    fn gathered(
        _out: &mut [Self],
        _a: Gathered<'_, Self>,
        _b: Matrix<'_, Self>,
        _sizes: (usize, usize, usize),
        _start: Start<'_, Self::Acc>,
        _threads: usize,
    ) {
        unreachable!("asked for although `gathers` said no");
    }
}

macro_rules! element {
    ($type:ty, $multiply:path $(, $runs_of:literal, $gathers:expr, $gathered:path)?) => {
        impl Element for $type {
            fn product(
                out: &mut [Self],
                a: Matrix<'_, Self>,
                b: Matrix<'_, Self>,
                sizes: (usize, usize, usize),
                start: Start<'_, Self::Acc>,
                threads: usize,
            ) {
                $multiply(out, a, b, sizes, start, threads);
            }
            fn sums(
                out: &mut [Self::Acc],
                a: Matrix<'_, Self>,
                b: Matrix<'_, Self>,
                sizes: (usize, usize, usize),
                start: Start<'_, Self::Acc>,
                threads: usize,
            ) {
                $multiply(out, a, b, sizes, start, threads);
            }
            $(
                const RUNS_OF: usize = $runs_of;
                fn gathers(sizes: (usize, usize, usize)) -> bool {
                    $gathers(sizes)
                }
                fn gathered(
                    out: &mut [Self],
                    a: Gathered<'_, Self>,
                    b: Matrix<'_, Self>,
                    sizes: (usize, usize, usize),
                    start: Start<'_, Self::Acc>,
                    threads: usize,
                ) {
                    $gathered(out, a, b, sizes, start, threads);
                }
            )?
        }
    };
}
element!(f32, cpu::matmul_into, 1, cpu::gathers_f32, cpu::gathered_into);
element!(f64, cpu::matmul_into);
element!(bf16, cpu::matmul_bf16_into, 2, |_| cpu::gathers_bf16(), cpu::gathered_bf16_into);
