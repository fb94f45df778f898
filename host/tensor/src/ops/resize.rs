//! Spatial resize by nearest, bilinear or bicubic interpolation, as PyTorch's `F.interpolate`.
//!
//! Each method is separable: a small matrix along H and one along W, whose transposes are the
//! gradient. Bicubic is Keys' convolution (1981), with a = -0.75, or -0.5 where it is antialiased.

use super::matmul::product;
use crate::cpu::{self, Real, Sparse};
use crate::{Array, DType, Error, ResizeMode, Result, Tensor, tape, with_real};

/// `x` (B, H, W, C) with `output` = (height, width).
///
/// Pixels are areas (`align_corners` false) or points whose outermost coincide. `scale` (vertical,
/// horizontal; 0: derived) is output / input size in the sampling grid where pixels are areas, as
/// with a `scale_factor` that PyTorch does not recompute. `antialias` widens the kernel where the
/// map shrinks (bilinear and bicubic).
///
/// # Errors
/// `x` is no map, a size is 0, a scale is negative or not finite, or nearest is to be antialiased or
/// to align corners.
pub fn resize(
    x: &Tensor,
    output: [usize; 2],
    mode: ResizeMode,
    align_corners: bool,
    antialias: bool,
    scale: [f64; 2],
) -> Result<Tensor> {
    let array = x.array();
    let &[_, height, width, _] = array.dims() else {
        return Err(Error::shape("Resize", format!("{:?}", array.dims()), "(B, H, W, C)"));
    };
    if output.contains(&0) || height == 0 || width == 0 {
        let found = format!("{height}x{width} to {}x{}", output[0], output[1]);
        return Err(Error::shape("Resize", found, "sizes of at least 1"));
    }
    if scale.iter().any(|scale| !scale.is_finite() || *scale < 0.0) {
        let what = format!("scale {scale:?}; expected positive numbers, or 0 to derive one");
        return Err(Error::attribute("Resize", what));
    }
    if mode == ResizeMode::Nearest && (antialias || align_corners) {
        let what = "nearest takes neither antialias nor align_corners";
        return Err(Error::attribute("Resize", what));
    }
    let grid = |axis: usize, input: usize| {
        let grid = Grid::new(input, output[axis], align_corners, scale[axis]);
        grid.matrix(mode, antialias)
    };
    let matrices = [grid(0, height), grid(1, width)];
    if matrices.iter().all(Sparse::is_identity) {
        return Ok(x.clone());
    }
    let output = apply(&array, &matrices)?;
    Ok(tape::record("Resize", &[x], output, move |grad| {
        Ok(vec![Some(apply(grad, &matrices.each_ref().map(|matrix| matrix.transposed()))?)])
    }))
}

/// Both matrices, first the one that leaves less for the other to do.
fn apply(x: &Array, [vertical, horizontal]: &[Sparse; 2]) -> Result<Array> {
    let between = |first: &Sparse, other: &Sparse| first.rows() * other.columns();
    let mut passes = [(1, vertical), (2, horizontal)];
    if between(horizontal, vertical) < between(vertical, horizontal) {
        passes.reverse();
    }
    let passes: Vec<_> = passes.into_iter().filter(|(_, matrix)| !matrix.is_identity()).collect();
    if !cpu::is_native(x) {
        return portable(x, &passes);
    }
    with_real!("Resize", x.dtype(), T => {
        type Wide = <T as Real>::Acc;
        match passes.as_slice() {
            [] => Ok(x.clone()),
            [(dim, matrix)] => matrix.apply::<T, T>(x, *dim),
            [(first, a), (second, b), ..] => {
                b.apply::<Wide, T>(&a.apply::<T, Wide>(x, *first)?, *second)
            }
        }
    })
}

/// By dense matrix products.
fn portable(x: &Array, passes: &[(usize, &Sparse)]) -> Result<Array> {
    let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let mut y = x.to_dtype(wide)?.contiguous()?;
    for (dim, matrix) in passes {
        let mut shape = y.dims().to_vec();
        let outer: usize = shape[..*dim].iter().product();
        let rows = y.reshape((outer, matrix.columns(), ()))?;
        shape[*dim] = matrix.rows();
        let dense = matrix.dense(x.device())?.to_dtype(wide)?.unsqueeze(0)?;
        y = product(&dense, &rows)?.reshape(shape)?;
    }
    Ok(y.to_dtype(x.dtype())?)
}

/// The sampling grid of one axis.
struct Grid {
    input: usize,
    output: usize,
    align_corners: bool,
    /// Distance of neighbouring output samples in input pixels.
    step: f64,
}

impl Grid {
    fn new(input: usize, output: usize, align_corners: bool, scale: f64) -> Self {
        let step = match align_corners {
            true if output > 1 => (input - 1) as f64 / (output - 1) as f64,
            true => 0.0,
            false if scale > 0.0 => 1.0 / scale,
            false => input as f64 / output as f64,
        };
        Self { input, output, align_corners, step }
    }

    /// The input coordinate of an output sample.
    fn at(&self, index: usize) -> f64 {
        if self.align_corners {
            self.step * index as f64
        } else {
            self.step * (index as f64 + 0.5) - 0.5
        }
    }

    fn matrix(&self, mode: ResizeMode, antialias: bool) -> Sparse {
        let row = |index: usize| match (mode, antialias) {
            (ResizeMode::Nearest, _) => self.nearest(index),
            (ResizeMode::Bilinear, false) => self.linear(index),
            (ResizeMode::Bicubic, false) => self.cubic(index),
            (ResizeMode::Bilinear, true) => self.filtered(index, 1.0, triangle),
            (ResizeMode::Bicubic, true) => self.filtered(index, 2.0, |x| keys(x, -0.5)),
        };
        Sparse::new((0..self.output).map(row), self.input)
    }

    /// The pixel in which the sample's left edge lies, in f32 as PyTorch, whose rounding decides ties.
    /// An equal or doubled size copies whatever scale was given, as there.
    fn nearest(&self, index: usize) -> Vec<(usize, f64)> {
        let pixel = if self.output == self.input {
            index
        } else if self.output == 2 * self.input {
            index / 2
        } else {
            (index as f32 * self.step as f32).floor() as usize
        };
        vec![(pixel.min(self.input - 1), 1.0)]
    }

    fn linear(&self, index: usize) -> Vec<(usize, f64)> {
        if self.input == self.output {
            return vec![(index, 1.0)];
        }
        let at = self.at(index).max(0.0);
        let left = (at as usize).min(self.input - 1);
        let share = (at - left as f64).clamp(0.0, 1.0);
        vec![(left, 1.0 - share), ((left + 1).min(self.input - 1), share)]
    }

    fn cubic(&self, index: usize) -> Vec<(usize, f64)> {
        let last = self.input as i64 - 1;
        let at = self.at(index);
        let left = (at.floor() as i64).min(last);
        let share = (at - left as f64).clamp(0.0, 1.0);
        (-1..=2)
            .map(|tap| {
                let pixel = (left + tap).clamp(0, last) as usize;
                (pixel, keys(share - tap as f64, -0.75))
            })
            .collect()
    }

    /// A filter of half-width `radius`, as wide as the distance of output samples where that is more
    /// than a pixel; weights sum to 1.
    fn filtered(
        &self,
        index: usize,
        radius: f64,
        filter: impl Fn(f64) -> f64,
    ) -> Vec<(usize, f64)> {
        if self.input == self.output {
            return vec![(index, 1.0)];
        }
        let stretch = self.step.max(1.0);
        let support = radius * stretch;
        let center = self.step * (index as f64 + 0.5);
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(self.input);
        let mut taps: Vec<(usize, f64)> = (first..end)
            .map(|pixel| (pixel, filter((pixel as f64 - center + 0.5) / stretch)))
            .collect();
        let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
        if sum != 0.0 {
            taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        taps
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic convolution kernel.
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::gate::{Case, check};

    #[test]
    fn gradient() {
        use ResizeMode::{Bicubic, Bilinear, Nearest};
        let derived = [0.0, 0.0];
        for output in [[3, 7], [6, 4], [5, 2], [4, 5]] {
            check(Case::of(&[&[2, 4, 5, 2]]), |x| {
                resize(&x[0], output, Nearest, false, false, derived)
            });
            for mode in [Bilinear, Bicubic] {
                for (corners, antialias) in [(false, false), (true, false), (false, true)] {
                    check(Case::of(&[&[2, 4, 5, 2]]), |x| {
                        resize(&x[0], output, mode, corners, antialias, derived)
                    });
                }
            }
        }
        check(Case::of(&[&[2, 4, 5, 2]]), |x| {
            resize(&x[0], [6, 8], Bicubic, false, false, [1.6, 1.7])
        });
    }

    #[test]
    fn bad_attributes_are_refused() {
        let x = Tensor::constant(Array::zeros((2, 4, 4, 3), DType::F32, &Device::Cpu).unwrap());
        let refused = |output, mode, corners, antialias, scale| {
            resize(&x, output, mode, corners, antialias, scale).unwrap_err().to_string()
        };
        let none = [0.0; 2];
        let message = refused([0, 3], ResizeMode::Bilinear, false, false, none);
        assert!(message.contains("4x4 to 0x3"), "{message}");
        assert!(refused([2, 2], ResizeMode::Nearest, false, true, none).contains("nearest"));
        assert!(refused([2, 2], ResizeMode::Bicubic, false, false, [-1.0, 0.0]).contains("scale"));
        let row = Tensor::constant(Array::zeros((4, 3), DType::F32, &Device::Cpu).unwrap());
        let message = resize(&row, [2, 2], ResizeMode::Bilinear, false, false, none).unwrap_err();
        assert!(message.to_string().contains("[4, 3]; expected (B, H, W, C)"), "{message}");
    }
}
