//! How much plugins ask the host to multiply: a measure of cost that no other load disturbs.

use std::cell::Cell;

use hssl_tensor::{Op, Tensor};

thread_local! {
    /// Multiply-adds since the count began, if there is one.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `body`, and counts the multiply-adds of the products, convolutions and attention that plugins ask
/// for meanwhile on this thread. Backward passes are not theirs.
pub fn count_multiply_adds<T>(body: impl FnOnce() -> T) -> (T, u64) {
    let outer = COUNT.replace(Some(0));
    let result = body();
    let counted = COUNT.replace(outer).unwrap_or(0);
    (result, counted)
}

/// Notes an operation that was computed.
pub(super) fn note(op: &Op, inputs: &[&Tensor], results: &[Tensor]) {
    if let Some(count) = COUNT.get() {
        COUNT.set(Some(count + multiply_adds(op, inputs, results)));
    }
}

fn multiply_adds(op: &Op, inputs: &[&Tensor], results: &[Tensor]) -> u64 {
    let elements = |tensor: &Tensor| tensor.dims().iter().product::<usize>() as u64;
    // Those of a weight that one output, or of a transposed convolution one input, meets.
    let fan = |weight: &Tensor| weight.dims().iter().skip(1).product::<usize>() as u64;
    match (op, inputs, results) {
        (Op::Linear {} | Op::Conv2d { .. }, [_, weight, ..], [y, ..]) => elements(y) * fan(weight),
        (Op::ConvTranspose2d { .. }, [x, weight, ..], _) => elements(x) * fan(weight),
        (Op::Matmul {}, [a, _], [y]) => elements(y) * a.dims().last().map_or(0, |n| *n as u64),
        (Op::Attention { .. }, [q, k, ..], [y, ..]) => {
            let keys = k.dims().iter().rev().nth(1).map_or(0, |n| *n as u64);
            (elements(q) + elements(y)) * keys
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hssl_tensor::{Array, DType, Device, dispatch};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::constant(Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
    }

    #[track_caller]
    fn check(op: &Op, inputs: &[&[usize]], expected: u64) {
        let inputs: Vec<Tensor> = inputs.iter().map(|shape| zeros(shape)).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let results = dispatch(op, &inputs, &Device::Cpu).unwrap();
        let ((), counted) = count_multiply_adds(|| note(op, &inputs, &results));
        assert_eq!(counted, expected);
        note(op, &inputs, &results);
    }

    #[test]
    fn multiply_adds_are_those_of_the_definitions() {
        check(&Op::Linear {}, &[&[2, 5, 3], &[7, 3]], 2 * 5 * 3 * 7);
        check(&Op::Matmul {}, &[&[2, 4, 3], &[2, 3, 5]], 2 * 4 * 3 * 5);
        let attention = Op::Attention { scale: 1.0, return_weights: false };
        // Two heads of width 8: 6 queries with 6 keys, and their values.
        check(&attention, &[&[1, 2, 6, 8], &[1, 2, 6, 8], &[1, 2, 6, 8]], 2 * 2 * 6 * 6 * 8);
        check(&Op::Gelu {}, &[&[4, 4]], 0);
    }
}
