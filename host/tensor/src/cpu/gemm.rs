//! Matrix products of strided matrices, without copies for transposes.

use std::any::TypeId;

use gemm::Parallelism;

use super::{Real, gemm_f32};
use crate::with_real;

/// A matrix inside a slice: element (i, j) lies at `offset + i * row + j * column`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Row-major with `columns` columns.
    pub fn rows(data: &'a [T], columns: usize) -> Self {
        Self { data, row: columns, column: 1 }
    }

    /// The transpose of a row-major matrix with `columns` columns.
    pub fn transposed(data: &'a [T], columns: usize) -> Self {
        Self { data, row: 1, column: columns }
    }

    /// With the strides of an array of two dimensions.
    pub fn of(data: &'a [T], strides: &[usize]) -> Self {
        Self { data, row: strides[0], column: strides[1] }
    }

    pub(super) fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// `out` (row-major m x n) = `keep` * out + a (m x k) b (k x n).
///
/// bf16 and f16 operands are widened, multiplied in f32 and rounded once at the end.
///
/// # Panics
/// A slice is shorter than its matrix.
pub fn matmul_into<T: Real>(
    out: &mut [T],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, k, n): (usize, usize, usize),
    keep: bool,
    threads: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "matrix outside its slice");
    let result: crate::Result<()> = with_real!("gemm", T::DTYPE, E => {
        if std::mem::size_of::<E>() >= 4 {
            native(out, a, b, (m, k, n), keep, threads);
        } else {
            widened(out, a, b, (m, k, n), keep, threads);
        }
        Ok(())
    });
    result.expect("every Real is a float type");
}

fn native<T: Real>(
    out: &mut [T],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, k, n): (usize, usize, usize),
    keep: bool,
    threads: usize,
) {
    if TypeId::of::<T>() == TypeId::of::<f32>() && gemm_f32::pays((m, k, n)) {
        let plain = |matrix: Matrix<'_, T>| {
            let (data, len) = (matrix.data.as_ptr().cast::<f32>(), matrix.data.len());
            // SAFETY: T is f32, and the slice lives as long as this function's argument.
            let data = unsafe { std::slice::from_raw_parts(data, len) };
            Matrix { data, row: matrix.row, column: matrix.column }
        };
        let (data, len) = (out.as_mut_ptr().cast::<f32>(), out.len());
        // SAFETY: as above; `out` is not used besides.
        let out = unsafe { std::slice::from_raw_parts_mut(data, len) };
        gemm_f32::multiply(out, plain(a), plain(b), (m, k, n), keep, threads);
        return;
    }
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // SAFETY: `matmul_into` checked that each matrix lies inside its slice, `out` is exclusive,
    // and T is f32 or f64, both of which `gemm` supports.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::from_f64(1.0),
            T::from_f64(1.0),
            false,
            false,
            false,
            parallelism,
        );
    }
}

fn widened<T: Real>(
    out: &mut [T],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, k, n): (usize, usize, usize),
    keep: bool,
    threads: usize,
) {
    let (wide_a, wide_b) = (widen(a, m, k), widen(b, k, n));
    let mut wide_out: Vec<f32> =
        if keep { widen(Matrix::rows(out, n), m, n) } else { vec![0f32; m * n] };
    native(
        &mut wide_out,
        Matrix { data: &wide_a, row: a.row, column: a.column },
        Matrix { data: &wide_b, row: b.row, column: b.column },
        (m, k, n),
        keep,
        threads,
    );
    out.iter_mut().zip(wide_out).for_each(|(slot, value)| *slot = T::from_f64(f64::from(value)));
}

/// The part of a slice that holds the matrix, as f32.
fn widen<T: Real>(matrix: Matrix<'_, T>, rows: usize, columns: usize) -> Vec<f32> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let len = (rows - 1) * matrix.row + (columns - 1) * matrix.column + 1;
    matrix.data[..len].iter().map(|x| x.to_f64() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_need_no_copy() {
        let a: Vec<f32> = (0..6).map(|x| x as f32).collect();
        let b: Vec<f32> = (0..12).map(|x| x as f32 * 0.5).collect();
        let mut plain = vec![0.0; 8];
        matmul_into(&mut plain, Matrix::rows(&a, 3), Matrix::rows(&b, 4), (2, 3, 4), false, 1);
        let at = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0f32];
        let bt: Vec<f32> =
            (0..4).flat_map(|j| (0..3).map(move |i| (i * 4 + j) as f32 * 0.5)).collect();
        let mut transposed = vec![1.0; 8];
        matmul_into(
            &mut transposed,
            Matrix::transposed(&at, 2),
            Matrix::transposed(&bt, 3),
            (2, 3, 4),
            true,
            2,
        );
        for (plain, transposed) in plain.iter().zip(transposed) {
            assert_eq!(plain + 1.0, transposed, "`keep` adds to what is there");
        }
    }
}
