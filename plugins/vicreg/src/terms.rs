//! The three terms of vectors (B, D).

use hssl_plugin_api::{Result, Tensor};

/// Under the root, so that a dimension without variance has a gradient.
const EPS: f64 = 1e-4;

/// Mean squared difference over images and dimensions. The released program's: the paper's equation (5)
/// adds the dimensions up.
pub fn invariance(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    prediction.sub(target)?.square()?.mean_all()
}

/// How much the standard deviations of the dimensions lack to 1: equations (1) and (2).
pub fn variance(z: &Tensor) -> Result<Tensor> {
    let std = z.var(&[0], 1, false)?.affine(1.0, EPS)?.sqrt()?;
    std.affine(-1.0, 1.0)?.relu()?.mean_all()
}

/// Squared covariances of different dimensions over D: equations (3) and (4). The variances, which
/// columns give without the matrix, are taken off its square.
pub fn covariance(z: &Tensor) -> Result<Tensor> {
    let (images, width) = z.dims2()?;
    let centred = z.sub(&z.mean(&[0], true)?)?;
    let freedom = 1.0 / (images as f64 - 1.0);
    let matrix = centred.t()?.matmul(&centred)?.scale(freedom)?;
    let variances = centred.square()?.sum(&[0], false)?.scale(freedom)?;
    let off_diagonal = matrix.square()?.sum_all()?.sub(&variances.square()?.sum_all()?)?;
    off_diagonal.scale(1.0 / width as f64)
}
