//! Stochastic depth (Huang et al., 2016): dropout of whole samples.

use super::dropout::{Mask, acts};
use crate::{Error, Result, Tensor, tape};

/// Zeroes samples (entries of dimension 0) with probability `p` and divides the rest by 1 - p; the
/// identity outside training.
///
/// # Errors
/// `p` lies outside [0, 1), or `x` has no dimension.
pub fn drop_path(x: &Tensor, p: f64) -> Result<Tensor> {
    let array = x.array();
    if array.rank() == 0 {
        return Err(Error::shape("DropPath", "a scalar", "samples along dimension 0"));
    }
    if !acts("DropPath", p)? || array.elem_count() == 0 {
        return Ok(x.clone());
    }
    let samples = array.dims()[0];
    let mask = Mask::draw(samples, array.elem_count() / samples, p, &array)?;
    let output = mask.apply(&array)?;
    Ok(tape::record("DropPath", &[x], output, move |grad| Ok(vec![Some(mask.apply(grad)?)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Array, DType, Device, random};

    #[test]
    fn gradient() {
        check(Case::of(&[&[6, 2, 3]]), |x| drop_path(&x[0], 0.4));
        check(Case::of(&[&[4]]), |x| drop_path(&x[0], 0.4));
    }

    #[test]
    fn samples_live_or_die_as_one() {
        let x = Tensor::constant(Array::ones((1000, 3), DType::F32, &Device::Cpu).unwrap());
        let training = Mode { training: true, ..current() };
        let draw = || scope(training, || drop_path(&x, 0.25)).unwrap().array();
        let rows = random::scope(1, 0, draw).to_vec2::<f32>().unwrap();
        let dropped = rows.iter().filter(|row| row[0] == 0.0).count();
        assert!((200..300).contains(&dropped), "{dropped}");
        for row in rows {
            assert!(row.iter().all(|value| *value == row[0]));
            assert!(row[0] == 0.0 || (row[0] - 1.0 / 0.75).abs() < 1e-6);
        }
    }

    #[test]
    fn a_scalar_is_refused() {
        let x = Tensor::constant(Array::new(1f32, &Device::Cpu).unwrap());
        assert!(drop_path(&x, 0.5).is_err());
    }
}
