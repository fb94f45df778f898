//! Convolutions of 3 x 3 at stride 1 by minimal filtering (Winograd, 1980; Lavin and Gray, 2016): tiles
//! of M x M outputs cost (M + 2)^2 products for each pair of channels instead of 9 M^2.
//!
//! A tile of the map, (M + 2) x (M + 2), is evaluated as a polynomial at M + 1 points and at infinity
//! along both axes, the weight likewise; then each pair of points has a product of matrices of its own,
//! (tiles x inputs) by (inputs x outputs), and the results are interpolated. The gradient of the weight
//! is the transpose of all that. Maps of bf16 are widened where they are read and rounded where they are
//! written; in between everything is f32.

use std::marker::PhantomData;

use pulp::Arch;
use rayon::prelude::*;

use super::Convolution;
use crate::cpu::{self, Aligned, Matrix, Packed, Real, Start};
use filtering::{F2, F4, Filtering};
use transforms::{Evaluate, Interpolate, Spread, Unweighted, Weights};

mod filtering;
mod transforms;

/// Channels on each side from which on the products outweigh what comes before and after them.
const FEWEST: usize = 16;
/// Floats of a task's tiles before or after the products: with the weight its second-level cache holds
/// them.
const BLOCK: usize = 96 * 1024;
/// Fewest tiles of a task, for which it reads all of the weight.
const TILES: usize = 24;
/// Floats of the tiles that the gradient of the weight is summed over at a time.
const PART: usize = 4 * 1024 * 1024;

/// Where the weight of an input, an output and a tap lies.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// (outputs, inputs, 3, 3).
    Plain,
    /// (inputs, outputs, 3, 3), taps reversed: of [`Convolution::turned`].
    Turned,
}

/// A convolution that is worth it, by its larger tile where that is.
#[derive(Clone, Copy)]
pub(super) enum Winograd {
    Two(Plan),
    Four(Plan),
}

impl Winograd {
    /// None where windows are of another kind, channels few, or maps so small that most of a tile would
    /// be thrown away.
    pub fn of(convolution: &Convolution) -> Option<Self> {
        let Convolution { window, inputs, outputs, groups, .. } = *convolution;
        let fits = window.kernel == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1];
        if !fits || groups != 1 || inputs.min(outputs) < FEWEST {
            return None;
        }
        let cost = |tile: usize| {
            let tiles = window.output.map(|size| size.div_ceil(tile)).iter().product::<usize>();
            tiles * (tile + 2) * (tile + 2)
        };
        if cost(2).min(cost(4)) * 5 > 9 * window.pixels() * 4 {
            return None;
        }
        let plan = |tile: usize| Plan {
            convolution: *convolution,
            grid: window.output.map(|size| size.div_ceil(tile)),
        };
        Some(if cost(4) <= cost(2) { Self::Four(plan(4)) } else { Self::Two(plan(2)) })
    }

    /// The map (B, OH, OW, outputs) of x (B, H, W, inputs), plus the bias.
    pub fn correlate<T: Real<Acc = f32>>(
        &self,
        x: &[T],
        weight: &[T],
        order: Order,
        bias: Option<&[f32]>,
    ) -> Vec<T> {
        match self {
            Self::Two(plan) => plan.correlate::<T, F2, 2, 4>(x, weight, order, bias),
            Self::Four(plan) => plan.correlate::<T, F4, 4, 6>(x, weight, order, bias),
        }
    }

    /// The gradient of the weight, (outputs, inputs, 3, 3).
    pub fn weight_gradient<T: Real<Acc = f32>>(&self, x: &[T], grad: &[T]) -> Vec<f32> {
        match self {
            Self::Two(plan) => plan.weight_gradient::<T, F2, 2, 4>(x, grad),
            Self::Four(plan) => plan.weight_gradient::<T, F4, 4, 6>(x, grad),
        }
    }
}

/// The tiles that cover a convolution's outputs.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    convolution: Convolution,
    /// Tiles of an image, vertically and horizontally.
    grid: [usize; 2],
}

/// Some tiles: rows of them of one image, or all of some images.
#[derive(Clone, Copy)]
struct Piece {
    image: usize,
    images: usize,
    row: usize,
    rows: usize,
}

impl Piece {
    /// (image, row, column) of each tile.
    #[inline(always)]
    fn tiles(self, columns: usize) -> impl Iterator<Item = [usize; 3]> {
        (self.image..self.image + self.images).flat_map(move |image| {
            (self.row..self.row + self.rows)
                .flat_map(move |row| (0..columns).map(move |column| [image, row, column]))
        })
    }

    fn count(self, columns: usize) -> usize {
        self.images * self.rows * columns
    }
}

impl Plan {
    /// Pieces of about so many tiles, in the order of the map, of the images from `first` on.
    fn pieces(&self, first: usize, images: usize, tiles: usize) -> Vec<Piece> {
        let [rows, columns] = self.grid;
        if rows * columns >= tiles {
            let most = (tiles / columns).max(1);
            let strips = (0..rows).step_by(most).map(|row| (row, most.min(rows - row)));
            let strips = strips.collect::<Vec<_>>();
            let of_image = |image| {
                strips.iter().map(move |&(row, rows)| Piece { image, images: 1, row, rows })
            };
            return (first..first + images).flat_map(of_image).collect();
        }
        let most = tiles / (rows * columns);
        let groups = (0..images).step_by(most);
        groups
            .map(|start| Piece {
                image: first + start,
                images: most.min(images - start),
                row: 0,
                rows,
            })
            .collect()
    }

    /// Output elements of a piece.
    fn len<const M: usize>(&self, piece: Piece) -> usize {
        let [height, width] = self.convolution.window.output;
        let rows = (M * piece.rows).min(height - M * piece.row);
        piece.images * rows * width * self.convolution.outputs
    }

    fn correlate<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize>(
        &self,
        x: &[T],
        weight: &[T],
        order: Order,
        bias: Option<&[f32]>,
    ) -> Vec<T> {
        let Convolution { batch, inputs, outputs, window, .. } = self.convolution;
        let weights = self.weights::<T, F, M, N>(weight, order);
        let mut output = cpu::unwritten::<T>(batch * window.pixels() * outputs);
        let tiles = (BLOCK / (N * N * inputs.max(outputs)) / 12 * 12).max(TILES);
        let mut rest = output.as_mut_slice();
        let mut pieces = Vec::new();
        for piece in self.pieces(0, batch, tiles) {
            let (output, behind) = rest.split_at_mut(self.len::<M>(piece));
            pieces.push((piece, output));
            rest = behind;
        }
        pieces.into_par_iter().for_each(|(piece, output)| {
            let tiles = piece.count(self.grid[1]);
            // Products of a point take the place of the point before, which nobody reads any more.
            let place = apart(tiles * inputs.max(outputs));
            let mut scratch = Aligned::<f32>::unwritten((N * N + 1) * place);
            let points = scratch[place..].chunks_exact_mut(place);
            let points = points.map(|point| &mut point[..tiles * inputs]).collect();
            Arch::new().dispatch(Evaluate::<T, F, M, N> {
                plan: self,
                x,
                piece,
                points,
                of: PhantomData,
            });
            for (point, weights) in weights.iter().enumerate() {
                let (products, evaluated) = scratch.split_at_mut((point + 1) * place);
                let left = Matrix::rows(&evaluated[..tiles * inputs], inputs);
                weights.multiply_into(&mut products[point * place..], left, tiles);
            }
            Arch::new().dispatch(Interpolate::<T, F, M, N> {
                plan: self,
                products: &scratch,
                distance: place,
                bias,
                piece,
                output,
                of: PhantomData,
            });
        });
        output
    }

    /// The weight at each pair of points, (inputs x outputs).
    fn weights<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize>(
        &self,
        weight: &[T],
        order: Order,
    ) -> Vec<Packed> {
        let Convolution { inputs, outputs, .. } = self.convolution;
        let mut packed: Vec<Packed> =
            (0..N * N).map(|_| Packed::unwritten(inputs, outputs)).collect();
        let width = Packed::width();
        let mut panels: Vec<Vec<&mut [f32]>> = Vec::new();
        for point in &mut packed {
            for (index, panel) in point.panels_mut().enumerate() {
                if panels.len() <= index {
                    panels.push(Vec::with_capacity(N * N));
                }
                panels[index].push(panel);
            }
        }
        panels.into_par_iter().enumerate().for_each(|(index, points)| {
            let first = index * width;
            let lanes = width.min(outputs - first);
            Arch::new().dispatch(Weights::<T, F, M, N> {
                weight,
                order,
                sizes: [inputs, outputs],
                first,
                lanes,
                width,
                points,
                of: PhantomData,
            });
        });
        packed
    }

    fn weight_gradient<T: Real<Acc = f32>, F: Filtering<M, N>, const M: usize, const N: usize>(
        &self,
        x: &[T],
        grad: &[T],
    ) -> Vec<f32> {
        let Convolution { batch, inputs, outputs, .. } = self.convolution;
        let per_image = self.grid[0] * self.grid[1];
        let most = PART / (N * N * (inputs + outputs));
        let images = (most / per_image).clamp(1, batch);
        let mut sums = Aligned::<f32>::unwritten(N * N * outputs * inputs);
        for first in (0..batch).step_by(images) {
            let images = images.min(batch - first);
            let tiles = images * per_image;
            let places = [inputs, outputs].map(|channels| apart(tiles * channels));
            let mut evaluated = Aligned::<f32>::unwritten(N * N * (places[0] + places[1]));
            let (left, right) = evaluated.split_at_mut(N * N * places[0]);
            let pieces = self.pieces(first, images, TILES);
            let counts = pieces.iter().map(|piece| piece.count(self.grid[1])).collect::<Vec<_>>();
            let left_points = by_piece(left, places[0], inputs, &counts);
            let right_points = by_piece(right, places[1], outputs, &counts);
            pieces.into_par_iter().zip(left_points).zip(right_points).for_each(
                |((piece, left), right)| {
                    Arch::new().dispatch(Evaluate::<T, F, M, N> {
                        plan: self,
                        x,
                        piece,
                        points: left,
                        of: PhantomData,
                    });
                    Arch::new().dispatch(Spread::<T, F, M, N> {
                        plan: self,
                        grad,
                        piece,
                        points: right,
                        of: PhantomData,
                    });
                },
            );
            let start = |first| if first == 0 { Start::Zero } else { Start::Out };
            sums.par_chunks_mut(outputs * inputs)
                .zip(left.par_chunks(places[0]).zip(right.par_chunks(places[1])))
                .for_each(|(sums, (left, right))| {
                    let (a, b) = (Matrix::transposed(right, outputs), Matrix::rows(left, inputs));
                    cpu::matmul_into(sums, a, b, (outputs, tiles, inputs), start(first), 1);
                });
        }
        let mut weight = cpu::unwritten::<f32>(outputs * inputs * 9);
        weight.par_chunks_mut(inputs * 9).enumerate().for_each(|(output, weight)| {
            let place = output * inputs;
            Arch::new().dispatch(Unweighted::<F, M, N> {
                sums: &sums,
                place,
                distance: outputs * inputs,
                weight,
                of: PhantomData,
            });
        });
        weight
    }
}

/// Floats from a point's first to the next one's, for so many of a point: an odd number of cache lines, so
/// that a tile's points do not all compete for one place in the first-level cache.
fn apart(floats: usize) -> usize {
    const LINE: usize = 16;
    (floats.div_ceil(LINE) | 1) * LINE
}

/// What each piece has of (tiles, channels), point by point, which are so far apart.
fn by_piece<'a>(
    all: &'a mut [f32],
    apart: usize,
    channels: usize,
    counts: &[usize],
) -> Vec<Vec<&'a mut [f32]>> {
    let mut pieces: Vec<Vec<&mut [f32]>> = counts.iter().map(|_| Vec::new()).collect();
    for mut point in all.chunks_exact_mut(apart) {
        for (piece, count) in pieces.iter_mut().zip(counts) {
            let (own, behind) = point.split_at_mut(count * channels);
            piece.push(own);
            point = behind;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::tests::{error, values};
    use super::*;
    use crate::ops::geometry::{Geometry, Window};
    use crate::{Array, DType};

    /// Odd sizes, few and many channels, tiles of either size, several images a task and several tasks
    /// an image: against direct sums in f64.
    #[test]
    fn results_and_gradients_agree_with_direct_sums() {
        for (size, padding, [inputs, outputs]) in [
            ([7, 9], [1, 1], [16, 40]),
            ([2, 2], [1, 1], [24, 16]),
            ([4, 40], [0, 2], [33, 17]),
            ([34, 35], [2, 0], [16, 16]),
        ] {
            let geometry = Geometry { padding, ..Geometry::PLAIN };
            let window = Window::new("Conv2d", size, [3, 3], &geometry).unwrap();
            let convolution = Convolution { batch: 5, window, inputs, outputs, groups: 1 };
            assert!(Winograd::of(&convolution).is_some(), "{convolution:?}");
            let x = values(&[5, size[0], size[1], inputs], 1);
            let weight = values(&[outputs, inputs, 3, 3], 2);
            let bias = values(&[outputs], 3);
            let [height, width] = window.output;
            let grad = values(&[5, height, width, outputs], 4);
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 1e-2)] {
                // What bf16 cannot hold is not the error of the sums.
                let short = |x: &Array| x.to_dtype(dtype).unwrap();
                let exact = |x: &Array| short(x).to_dtype(DType::F64).unwrap();
                let check = |name: &str, found: Array, exact: Array| {
                    let error = error(&found, &exact);
                    assert!(error < tolerance, "{name} of {convolution:?}, {dtype:?}: {error}");
                };
                check(
                    "result",
                    convolution
                        .correlate(&short(&x), &short(&weight), Some(&short(&bias)))
                        .unwrap(),
                    convolution
                        .correlate(&exact(&x), &exact(&weight), Some(&exact(&bias)))
                        .unwrap(),
                );
                check(
                    "gradient of x",
                    convolution.spread(&short(&grad), &short(&weight), None).unwrap(),
                    convolution.spread(&exact(&grad), &exact(&weight), None).unwrap(),
                );
                check(
                    "gradient of the weight",
                    convolution.weight_gradient(&short(&x), &short(&grad)).unwrap(),
                    convolution.weight_gradient(&exact(&x), &exact(&grad)).unwrap(),
                );
            }
        }
    }

    #[test]
    fn what_would_not_gain_is_left_to_products() {
        let fits = |size: usize, kernel: usize, inputs: usize, outputs: usize, stride: usize| {
            let geometry = Geometry { padding: [1, 1], stride: [stride; 2], ..Geometry::PLAIN };
            let window = Window::new("Conv2d", [size; 2], [kernel; 2], &geometry).unwrap();
            Winograd::of(&Convolution { batch: 2, window, inputs, outputs, groups: 1 }).is_some()
        };
        assert!(fits(8, 3, 16, 16, 1));
        assert!(!fits(8, 3, 16, 16, 2), "stride");
        assert!(!fits(8, 4, 16, 16, 1), "kernel");
        assert!(!fits(8, 3, 3, 64, 1), "channels");
        assert!(!fits(1, 3, 64, 64, 1), "map");
    }
}
