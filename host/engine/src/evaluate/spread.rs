//! How features are spread over the sphere.

use hssl_tensor::{Tensor, ops};

use crate::error::Result;

/// Two numbers that fall when features collapse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean standard deviation of unit-length features, times sqrt(C): about 1 when they are spread
    /// evenly, 0 when all are the same.
    pub std: f64,
    /// Participation ratio (sum of eigenvalues)^2 / (sum of squared eigenvalues) of the covariance:
    /// how many directions carry the variance, 1 to C.
    pub rank: f64,
}

/// The spread of features (n, C).
pub fn spread(features: &Tensor) -> Result<Spread> {
    let unit = ops::l2_normalize(features, -1, 1e-12)?;
    let (count, width) = (unit.dims()[0], unit.dims()[1]);
    let centred = ops::sub(&unit, &ops::mean(&unit, &[0], true)?)?;
    let variance = ops::mean(&ops::square(&centred)?, &[0], false)?;
    let std = ops::mean(&ops::sqrt(&variance)?, &[], false)?.scalar()? * (width as f64).sqrt();
    let transposed = ops::permute(&centred, &[1, 0])?;
    let covariance = ops::affine(&ops::matmul(&transposed, &centred)?, 1.0 / count as f64, 0.0)?;
    // tr(C)^2 / tr(C^2) needs no eigenvalues: tr(C^2) is the sum of squared elements.
    let trace = ops::sum(&variance, &[], false)?.scalar()?;
    let squares = ops::sum(&ops::square(&covariance)?, &[], false)?.scalar()?;
    let rank = if squares > 0.0 { trace * trace / squares } else { 1.0 };
    Ok(Spread { std, rank })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hssl_tensor::{Array, Device};

    fn of(rows: &[[f32; 3]]) -> Spread {
        let flat: Vec<f32> = rows.concat();
        let array = Array::from_vec(flat, (rows.len(), 3), &Device::Cpu).unwrap();
        spread(&Tensor::constant(array)).unwrap()
    }

    #[test]
    fn equal_features_have_none() {
        let found = of(&[[1.0, 2.0, 3.0]; 4]);
        assert!(found.std < 1e-5, "{found:?}");
    }

    #[test]
    fn opposite_axes_fill_all_directions() {
        let found = of(&[
            [1.0, 0.0, 0.0],
            [-1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, -1.0, 0.0],
            [0.0, 0.0, 1.0],
            [0.0, 0.0, -1.0],
        ]);
        assert!((found.std - 1.0).abs() < 1e-5 && (found.rank - 3.0).abs() < 1e-5, "{found:?}");
    }
}
