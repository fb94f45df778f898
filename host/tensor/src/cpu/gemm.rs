//! Matrix products of strided matrices, without copies for transposes.

use gemm::Parallelism;

use super::{Real, gemm_f32, unwritten};
use crate::{DType, with_real};

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

    /// Rows and columns exchanged.
    pub fn turned(self) -> Self {
        Self { data: self.data, row: self.column, column: self.row }
    }

    /// With the strides of an array of two dimensions.
    pub fn of(data: &'a [T], strides: &[usize]) -> Self {
        Self { data, row: strides[0], column: strides[1] }
    }

    /// The same, where it is known that T is U.
    ///
    /// # Panics
    /// The types differ in size.
    pub fn cast<U: bytemuck::Pod>(self) -> Matrix<'a, U>
    where
        T: bytemuck::Pod,
    {
        assert_eq!(size_of::<T>(), size_of::<U>(), "elements of another type");
        Matrix { data: bytemuck::cast_slice(self.data), row: self.row, column: self.column }
    }

    pub(super) fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// Rows that lie anywhere in a slice, and may overlap: element (i, j) lies at
/// `starts[i] + j / run * apart + j % run`.
#[derive(Clone, Copy, Debug)]
pub struct Gathered<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// Where each row begins.
    pub starts: &'a [usize],
    /// Elements of a row that lie side by side.
    pub run: usize,
    /// Distance between the beginnings of such runs.
    pub apart: usize,
}

impl<T> Gathered<'_, T> {
    pub(super) fn covers(&self, rows: usize, columns: usize) -> bool {
        let last = (columns / self.run.max(1)).max(1) - 1;
        let reach = last * self.apart + self.run;
        columns.is_multiple_of(self.run)
            && self.starts.len() >= rows
            && self.starts.iter().all(|start| start + reach <= self.data.len())
    }
}

/// What a product is added to.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// Nothing.
    Zero,
    /// One number per column.
    Bias(&'a [T]),
    /// What the output held.
    Out,
}

/// a (m x k) b (k x n), plus a bias for each column: m x n, row-major.
///
/// # Panics
/// A slice is shorter than its matrix, or the bias is not n long.
pub fn matmul<T: Real>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, k, n): (usize, usize, usize),
    bias: Option<&[T]>,
    threads: usize,
) -> Vec<T> {
    let mut out = unwritten(m * n);
    matmul_into(&mut out, a, b, (m, k, n), bias.map_or(Start::Zero, Start::Bias), threads);
    out
}

/// `out` (row-major m x n) = start + a (m x k) b (k x n).
///
/// bf16 and f16 operands are widened, multiplied in f32 and rounded once at the end.
///
/// # Panics
/// A slice is shorter than its matrix, or the bias is not n long.
pub fn matmul_into<T: Real>(
    out: &mut [T],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    (m, k, n): (usize, usize, usize),
    start: Start<'_, T>,
    threads: usize,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && out.len() >= m * n, "matrix outside its slice");
    if T::DTYPE == DType::F32 && gemm_f32::pays((m, k, n)) {
        let start = match start {
            Start::Zero => Start::Zero,
            Start::Bias(bias) => Start::Bias(bytemuck::cast_slice(bias)),
            Start::Out => Start::Out,
        };
        let out = bytemuck::cast_slice_mut(&mut out[..m * n]);
        return gemm_f32::multiply(out, a.cast(), b.cast(), (m, k, n), start, threads);
    }
    let result: crate::Result<()> = with_real!("gemm", T::DTYPE, E => {
        if std::mem::size_of::<E>() >= 4 {
            native(out, a, b, (m, k, n), start, threads);
        } else {
            widened(out, a, b, (m, k, n), start, threads);
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
    start: Start<'_, T>,
    threads: usize,
) {
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), n, "a bias for each column");
        out.chunks_exact_mut(n.max(1)).take(m).for_each(|row| row.copy_from_slice(bias));
    }
    if k == 0 {
        if let Start::Zero = start {
            out[..m * n].fill(T::zero());
        }
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
            !matches!(start, Start::Zero),
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
    start: Start<'_, T>,
    threads: usize,
) {
    let (wide_a, wide_b) = (widen(a, m, k), widen(b, k, n));
    let (a, b) = (
        Matrix { data: &wide_a, row: a.row, column: a.column },
        Matrix { data: &wide_b, row: b.row, column: b.column },
    );
    let wide = |x: &[T]| x.iter().map(|x| x.to_f64() as f32).collect::<Vec<f32>>();
    let sums = match start {
        Start::Zero => matmul(a, b, (m, k, n), None, threads),
        Start::Bias(bias) => matmul(a, b, (m, k, n), Some(&wide(bias)), threads),
        Start::Out => {
            let mut sums = wide(&out[..m * n]);
            matmul_into(&mut sums, a, b, (m, k, n), Start::Out, threads);
            sums
        }
    };
    out.iter_mut().zip(sums).for_each(|(slot, value)| *slot = T::from_f64(f64::from(value)));
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
        matmul_into(
            &mut plain,
            Matrix::rows(&a, 3),
            Matrix::rows(&b, 4),
            (2, 3, 4),
            Start::Zero,
            1,
        );
        let at = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0f32];
        let bt: Vec<f32> =
            (0..4).flat_map(|j| (0..3).map(move |i| (i * 4 + j) as f32 * 0.5)).collect();
        let mut transposed = vec![1.0; 8];
        matmul_into(
            &mut transposed,
            Matrix::transposed(&at, 2),
            Matrix::transposed(&bt, 3),
            (2, 3, 4),
            Start::Out,
            2,
        );
        let bias = [5.0, 6.0, 7.0, 8.0f32];
        let size = (2, 3, 4);
        let biased = matmul(Matrix::rows(&a, 3), Matrix::rows(&b, 4), size, Some(&bias), 1);
        for (index, (plain, biased)) in plain.iter().zip(biased).enumerate() {
            assert_eq!(plain + bias[index % 4], biased);
        }
        for (plain, transposed) in plain.iter().zip(transposed) {
            assert_eq!(plain + 1.0, transposed, "`Out` adds to what is there");
        }
    }
}
