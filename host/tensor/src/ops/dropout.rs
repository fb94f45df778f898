//! Dropout (Srivastava et al., 2014), inverted.

use crate::cpu::{self, select};
use crate::{Array, DType, Error, Result, Tensor, mode, random, tape, with_real};

/// Zeroes elements with probability `p` and divides the rest by 1 - p; the identity outside training.
///
/// # Errors
/// `p` lies outside [0, 1).
pub fn dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    if !acts("Dropout", p)? {
        return Ok(x.clone());
    }
    let array = x.array();
    let mask = Mask::draw(array.elem_count(), 1, p, &array)?;
    let output = mask.apply(&array)?;
    Ok(tape::record("Dropout", &[x], output, move |grad| Ok(vec![Some(mask.apply(grad)?)])))
}

/// Whether anything is dropped.
pub(crate) fn acts(op: &'static str, p: f64) -> Result<bool> {
    if !(0.0..1.0).contains(&p) {
        return Err(Error::attribute(op, format!("probability {p} outside [0, 1)")));
    }
    Ok(mode::current().training && p > 0.0)
}

/// Which stretches of `span` elements survive, and by how much they grow.
pub(crate) struct Mask {
    kept: Kept,
    span: usize,
    scale: f64,
}

enum Kept {
    Native(Vec<u8>),
    /// 1 and 0, one per stretch, in f32 on the device.
    Portable(Array),
}

impl Mask {
    /// Draws for `count` stretches of an array like `like`.
    pub(crate) fn draw(count: usize, span: usize, p: f64, like: &Array) -> Result<Self> {
        let kept = random::kept(count, p as f32);
        let kept = if cpu::is_native(like) {
            Kept::Native(kept)
        } else {
            let kept = Array::from_vec(kept, (count, 1), like.device())?;
            Kept::Portable(kept.to_dtype(DType::F32)?)
        };
        Ok(Self { kept, span, scale: 1.0 / (1.0 - p) })
    }

    pub(crate) fn apply(&self, x: &Array) -> Result<Array> {
        match &self.kept {
            Kept::Native(kept) => with_real!("Dropout", x.dtype(), T => {
                select::masked::<T>(x, kept, self.span, self.scale)
            }),
            Kept::Portable(kept) => {
                let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                let factors = (kept.to_dtype(wide)? * self.scale)?;
                let rows = x.to_dtype(wide)?.reshape((x.elem_count() / self.span, self.span))?;
                Ok(rows.broadcast_mul(&factors)?.reshape(x.shape())?.to_dtype(x.dtype())?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3, 4]]), |x| dropout(&x[0], 0.4));
    }

    #[test]
    fn the_share_and_the_mean_are_right() {
        let x = Tensor::constant(Array::ones((100, 400), DType::F32, &Device::Cpu).unwrap());
        let training = Mode { training: true, ..current() };
        let draw = || scope(training, || dropout(&x, 0.3)).unwrap().array();
        let values: Vec<f32> = random::scope(1, 0, draw).flatten_all().unwrap().to_vec1().unwrap();
        let dropped = values.iter().filter(|value| **value == 0.0).count() as f64 / 40_000.0;
        assert!((dropped - 0.3).abs() < 0.01, "{dropped}");
        assert!(values.iter().all(|value| *value == 0.0 || (value - 1.0 / 0.7).abs() < 1e-6));
    }

    #[test]
    fn the_kernel_and_the_portable_way_drop_the_same() {
        let x = Array::arange(1f32, 61.0, &Device::Cpu).unwrap().reshape((3, 20)).unwrap();
        let x = Tensor::constant(x);
        let draw = |portable| {
            let mode = Mode { training: true, portable, ..current() };
            let y = scope(mode, || random::scope(4, 2, || dropout(&x, 0.5))).unwrap();
            y.array().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(draw(false), draw(true));
    }

    #[test]
    fn outside_training_nothing_is_dropped_or_drawn() {
        let x = Tensor::constant(Array::ones((4, 4), DType::F32, &Device::Cpu).unwrap());
        random::scope(1, 0, || {
            let before = random::snapshot();
            let y = dropout(&x, 0.9).unwrap().array().sum_all().unwrap();
            assert_eq!(y.to_scalar::<f32>().unwrap(), 16.0);
            assert_eq!(random::snapshot(), before);
        });
    }

    #[test]
    fn probabilities_are_checked() {
        let x = Tensor::constant(Array::ones((4, 4), DType::F32, &Device::Cpu).unwrap());
        for p in [-0.1, 1.0, f64::NAN] {
            assert!(dropout(&x, p).unwrap_err().to_string().contains("outside [0, 1)"));
        }
    }
}
