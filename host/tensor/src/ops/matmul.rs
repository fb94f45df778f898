//! Batched matrix product.

use rayon::prelude::*;

use super::broadcast::{promote, reduce_to, shape};
use crate::cpu::{self, Cast, Matrix, Real};
use crate::{Array, DType, Error, Result, Tensor, mode, tape, with_real};

/// a b over the last two dimensions; leading dimensions broadcast. Under autocast both are bf16.
///
/// # Errors
/// An operand has fewer than two dimensions, or the inner sizes differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (array_a, array_b) = (a.array(), b.array());
    let (dims_a, dims_b) = (array_a.dims(), array_b.dims());
    if dims_a.len() < 2 || dims_b.len() < 2 || dims_a[dims_a.len() - 1] != dims_b[dims_b.len() - 2]
    {
        return Err(Error::shape(
            "Matmul",
            format!("{dims_a:?} and {dims_b:?}"),
            "(.., n, k) and (.., k, m)",
        ));
    }
    let (left, right) = operands(&array_a, &array_b)?;
    let output = product(&left, &right)?;
    let needs = (a.is_tracked(), b.is_tracked());
    let (dims_a, dims_b) = (dims_a.to_vec(), dims_b.to_vec());
    let (type_a, type_b) = (array_a.dtype(), array_b.dtype());
    Ok(tape::record("Matmul", &[a, b], output, move |grad| {
        let grad = grad.cast(left.dtype())?;
        let grad_a = || reduce_to(&product(&grad, &right.t()?)?, &dims_a, type_a);
        let grad_b = || {
            // One matrix on the right for all on the left: one product over all rows.
            let per_row = dims_b.len() == 2 && left.is_contiguous() && grad.is_contiguous();
            let (left, grad) = if per_row {
                (left.flatten_to(left.rank() - 2)?, grad.flatten_to(grad.rank() - 2)?)
            } else {
                (left.clone(), grad.clone())
            };
            reduce_to(&product(&left.t()?, &grad)?, &dims_b, type_b)
        };
        Ok(vec![needs.0.then(grad_a).transpose()?, needs.1.then(grad_b).transpose()?])
    }))
}

/// The operands in the type in which they are multiplied.
pub(crate) fn operands(a: &Array, b: &Array) -> Result<(Array, Array)> {
    let brief = |of: &Array| matches!(of.dtype(), DType::F32 | DType::BF16);
    if mode::current().autocast && brief(a) && brief(b) {
        // Not by way of the type in which they meet: a large bf16 operand would be widened and rounded
        // again.
        return Ok((a.cast(DType::BF16)?, b.cast(DType::BF16)?));
    }
    let (a, b) = promote(a, b)?;
    if mode::current().autocast && a.dtype() == DType::F32 {
        return Ok((a.cast(DType::BF16)?, b.cast(DType::BF16)?));
    }
    Ok((a, b))
}

/// The product of arrays of one type; leading dimensions broadcast.
pub(crate) fn product(a: &Array, b: &Array) -> Result<Array> {
    let (dims_a, dims_b) = (a.dims(), b.dims());
    let (lead_a, tail_a) = dims_a.split_at(dims_a.len() - 2);
    let (lead_b, tail_b) = dims_b.split_at(dims_b.len() - 2);
    // One matrix on the right for all on the left: one tall product.
    if lead_b.iter().all(|size| *size == 1) && lead_a.len() >= lead_b.len() && a.is_contiguous() {
        let rows = lead_a.iter().product::<usize>() * tail_a[0];
        let output = single(&a.reshape((rows, tail_a[1]))?, &b.reshape(tail_b)?)?;
        return Ok(output.reshape([lead_a, &[tail_a[0], tail_b[1]]].concat())?);
    }
    let (a, b) = if lead_a == lead_b {
        (a.clone(), b.clone())
    } else {
        let lead = shape("Matmul", lead_a, lead_b)?;
        let join = |tail: &[usize]| [lead.as_slice(), tail].concat();
        (a.broadcast_as(join(tail_a))?, b.broadcast_as(join(tail_b))?)
    };
    if cpu::is_native(&a) { kernel(&a, &b) } else { portable(&a, &b) }
}

fn single(a: &Array, b: &Array) -> Result<Array> {
    if cpu::is_native(a) { kernel(a, b) } else { portable(a, b) }
}

/// candle refuses some strided operands; those are copied. Its CPU backend has no GEMM of half types:
/// there the operands are multiplied in f32 and the result is rounded.
fn portable(a: &Array, b: &Array) -> Result<Array> {
    let dtype = a.dtype();
    if a.device().is_cpu() && matches!(dtype, DType::BF16 | DType::F16) {
        let wide = portable(&a.cast(DType::F32)?, &b.cast(DType::F32)?)?;
        return wide.cast(dtype);
    }
    a.matmul(b).or_else(|_| a.contiguous()?.matmul(&b.contiguous()?)).map_err(Into::into)
}

/// Equal leading dimensions, any strides.
fn kernel(a: &Array, b: &Array) -> Result<Array> {
    with_real!("Matmul", a.dtype(), T => {
        batched::<T>(a, b, T::multiply)
    })
}

/// How matrices of an element type are multiplied.
trait Multiply: Real {
    fn multiply(
        out: &mut [Self],
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
        sizes: (usize, usize, usize),
        threads: usize,
    ) {
        cpu::matmul_into(out, a, b, sizes, cpu::Start::Zero, threads);
    }
}
impl Multiply for f32 {}
impl Multiply for f64 {}
impl Multiply for half::f16 {}
impl Multiply for half::bf16 {
    fn multiply(
        out: &mut [Self],
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
        sizes: (usize, usize, usize),
        threads: usize,
    ) {
        cpu::matmul_bf16_into(out, a, b, sizes, cpu::Start::Zero, threads);
    }
}

/// From this many products on, each is computed by one thread.
const MANY: usize = 8;

fn batched<T: Real>(
    a: &Array,
    b: &Array,
    multiply: impl Fn(&mut [T], Matrix<'_, T>, Matrix<'_, T>, (usize, usize, usize), usize) + Sync,
) -> Result<Array> {
    let rank = a.rank();
    let lead = &a.dims()[..rank - 2];
    let (m, k, n) = (a.dims()[rank - 2], a.dims()[rank - 1], b.dims()[rank - 1]);
    let mut output = cpu::unwritten::<T>(lead.iter().product::<usize>() * m * n);
    if !output.is_empty() {
        cpu::view(a, |a: &[T], strides_a| {
            cpu::view(b, |b: &[T], strides_b| {
                let matrix = |data, strides: &[usize], index: usize| {
                    let (mut index, mut offset) = (index, 0);
                    for axis in (0..rank - 2).rev() {
                        offset += index % lead[axis] * strides[axis];
                        index /= lead[axis];
                    }
                    let data: &[T] = data;
                    let (row, column) = (strides[rank - 2], strides[rank - 1]);
                    Matrix { data: &data[offset.min(data.len())..], row, column }
                };
                let one = |(index, out): (usize, &mut [T]), threads: usize| {
                    let (a, b) = (matrix(a, strides_a, index), matrix(b, strides_b, index));
                    multiply(out, a, b, (m, k, n), threads);
                };
                let products = output.len() / (m * n);
                if products >= MANY {
                    let small = (32_768 / (m * k * n).max(1)).max(1);
                    let outputs = output.par_chunks_mut(m * n).enumerate();
                    outputs.with_min_len(small).for_each(|slot| one(slot, 1));
                } else {
                    let threads = rayon::current_num_threads();
                    output.chunks_mut(m * n).enumerate().for_each(|slot| one(slot, threads));
                }
            })
        })??;
    }
    cpu::from_vec(output, [lead, &[m, n]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Case, check};
    use crate::mode::{Mode, current, scope};
    use crate::{Device, Parameter, backward};

    #[test]
    fn gradient() {
        check(Case::of(&[&[2, 3], &[3, 4]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[2, 2, 3, 4], &[2, 2, 4, 3]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[2, 1, 3, 4], &[3, 4, 2]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[2, 3, 4], &[4, 2]]), |x| matmul(&x[0], &x[1]));
        check(Case::of(&[&[3, 3, 2, 3], &[3, 3, 3, 2]]), |x| matmul(&x[0], &x[1]));
    }

    #[test]
    fn autocast_multiplies_in_bf16_and_returns_f32_gradients() {
        let x = crate::gate::noise((4, 8));
        let w = Parameter::trainable("w", crate::gate::noise((8, 3)));
        scope(Mode { autocast: true, ..current() }, || {
            let y = matmul(&Tensor::constant(x), &Tensor::parameter(&w)).unwrap();
            assert_eq!(y.dtype(), DType::BF16);
            let ones = Tensor::constant(Array::ones((1, 4), DType::F32, &Device::Cpu).unwrap());
            let row = matmul(&ones, &y).unwrap();
            let loss = matmul(
                &row,
                &Tensor::constant(Array::ones((3, 1), DType::F32, &Device::Cpu).unwrap()),
            );
            let gradients = backward(&loss.unwrap()).unwrap();
            assert_eq!(gradients.get(&w).unwrap().dtype(), DType::F32);
        });
    }

    #[test]
    fn inner_sizes_that_differ_are_named() {
        let x = Tensor::constant(Array::zeros((2, 3), DType::F32, &Device::Cpu).unwrap());
        let message = matmul(&x, &x).unwrap_err().to_string();
        assert!(message.contains("[2, 3] and [2, 3]"), "{message}");
    }
}
