//! How two representations of the same images differ.

use hssl_tensor::{Tensor, ops};
use nalgebra::DMatrix;

use crate::error::{Error, Result};

/// Mean over rows of KL(p || q), natural logarithm, of assignments given as logits (n, K): the
/// discrepancy D of equation (5) with p the base's and q the head's.
pub fn divergence(p: &Tensor, q: &Tensor) -> Result<f64> {
    let (p, q) = (ops::log_softmax(p, -1)?, ops::log_softmax(q, -1)?);
    expectation(&p, &ops::sub(&p, &q)?)
}

/// Equation (8) as it is printed, -p log(q / r), with r the student's base: no divergence, and negative
/// where q is nearer to p than r is.
pub fn printed_divergence(p: &Tensor, q: &Tensor, r: &Tensor) -> Result<f64> {
    let log = |logits: &Tensor| ops::log_softmax(logits, -1);
    expectation(&log(p)?, &ops::sub(&log(r)?, &log(q)?)?)
}

/// Mean over rows of the sum of e^log_p x.
fn expectation(log_p: &Tensor, x: &Tensor) -> Result<f64> {
    let sums = ops::sum(&ops::mul(&ops::exp(log_p)?, x)?, &[-1], false)?;
    Ok(ops::mean(&sums, &[], false)?.scalar()?)
}

/// Features (n, C) in f64, less the mean of each column.
pub fn centred(features: &Tensor) -> Result<DMatrix<f64>> {
    let rows: Vec<Vec<f32>> = ops::cast(features, hssl_tensor::DType::F32)?
        .array()
        .to_vec2()
        .map_err(hssl_tensor::Error::from)?;
    let (count, width) = (rows.len(), rows.first().map_or(0, Vec::len));
    if count < 2 {
        return Err(Error::Composition(format!(
            "features of {count} images; representations are compared on two at least"
        )));
    }
    let mut matrix = DMatrix::from_fn(count, width, |row, column| f64::from(rows[row][column]));
    for mut column in matrix.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    Ok(matrix)
}

/// Linear centred kernel alignment of centred features (n, C) and (n, D): 1 for the same up to rotation
/// and scale, 0 for uncorrelated ones (Kornblith et al., 2019).
pub fn linear_cka(x: &DMatrix<f64>, y: &DMatrix<f64>) -> f64 {
    let scale = x.tr_mul(x).norm() * y.tr_mul(y).norm();
    if scale > 0.0 { y.tr_mul(x).norm_squared() / scale } else { 0.0 }
}

/// Orthogonal Procrustes similarity of centred features: the sum of singular values of A'B for A and B
/// of unit norm; 1 for the same up to rotation and scale. The distance is 2 - 2 times that.
pub fn procrustes(x: &DMatrix<f64>, y: &DMatrix<f64>) -> f64 {
    let scale = x.norm() * y.norm();
    if scale == 0.0 {
        return 0.0;
    }
    // A turn of the columns changes no singular value of A'B: of features that are wider than there are
    // images, only as many directions matter.
    let narrow = |x: &DMatrix<f64>| {
        if x.ncols() > x.nrows() { x.transpose().qr().r().transpose() } else { x.clone() }
    };
    (narrow(x).tr_mul(&narrow(y)) / scale).singular_values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hssl_tensor::{Array, Device};

    fn tensor<const C: usize>(rows: &[[f32; C]]) -> Tensor {
        let flat: Vec<f32> = rows.concat();
        Tensor::constant(Array::from_vec(flat, (rows.len(), C), &Device::Cpu).unwrap())
    }

    fn logits(p: [f32; 3]) -> Tensor {
        tensor(&[p.map(f32::ln)])
    }

    #[test]
    fn the_discrepancy_is_that_of_the_worked_example() {
        let (p, q) = (logits([0.5, 0.3, 0.2]), logits([0.4, 0.4, 0.2]));
        assert!((divergence(&p, &q).unwrap() - 0.0252672).abs() < 1e-6);
        assert!((divergence(&q, &p).unwrap() - 0.0258154).abs() < 1e-6);
        let printed = printed_divergence(&p, &q, &logits([0.6, 0.2, 0.2])).unwrap();
        assert!((printed + 0.0052116).abs() < 1e-6, "{printed}");
    }

    #[test]
    fn similarities_are_those_of_the_worked_example() {
        let x = centred(&tensor(&[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])).unwrap();
        let y = centred(&tensor(&[[0.0, 1.0], [1.0, 1.0], [3.0, 0.0]])).unwrap();
        assert!((linear_cka(&x, &y) - 0.9).abs() < 1e-12);
        assert!((procrustes(&x, &y) - 0.8926786).abs() < 1e-7);
    }

    #[test]
    fn wide_features_are_compared_as_narrow_ones() {
        let x = DMatrix::from_fn(4, 9, |i, j| ((3 * i + 5 * j + i * j) % 7) as f64 - 3.0);
        let y = DMatrix::from_fn(4, 6, |i, j| ((2 * i + 3 * j + i * j) % 5) as f64 - 2.0);
        let direct = (x.tr_mul(&y) / (x.norm() * y.norm())).singular_values().sum();
        assert!((procrustes(&x, &y) - direct).abs() < 1e-12);
    }

    #[test]
    fn rotations_and_scales_do_not_count() {
        let rows = [[1.0, 0.5], [-0.25, 1.0], [2.0, -1.5], [0.75, 3.0]];
        let (sine, cosine) = 0.7f32.sin_cos();
        let turned =
            rows.map(|[a, b]| [3.0 * (cosine * a - sine * b), 3.0 * (sine * a + cosine * b)]);
        let (x, y) = (centred(&tensor(&rows)).unwrap(), centred(&tensor(&turned)).unwrap());
        assert!((linear_cka(&x, &y) - 1.0).abs() < 1e-6);
        assert!((procrustes(&x, &y) - 1.0).abs() < 1e-6);
    }
}
