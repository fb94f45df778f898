//! The gradient gate: no operation without a derivative that finite differences agree with.
//!
//! [`check`] takes an operation as a function of tensors and runs it
//! * in f64 against central differences, from inputs that are *not contiguous*, with the kernels
//!   and with candle's operations ([`crate::mode::Mode::portable`]);
//! * in f32 and bf16 against the f64 result;
//! * with the CUDA kernels emulated ([`crate::cuda::emulated`]), and in a CUDA build on a machine with
//!   a GPU, all of this there as well.

use std::cell::RefCell;

use crate::cuda::emulated;
use crate::mode::{self, Mode};
use crate::{Array, DType, Device, Result, Tensor, random, tape};

/// What the gate feeds to an operation.
pub(crate) struct Case {
    /// Shapes of the differentiable inputs.
    pub shapes: Vec<Vec<usize>>,
    /// Range of their values.
    pub range: (f64, f64),
    /// Relative tolerance of the bf16 result, 0 to leave bf16 out (operations that jump).
    pub bf16: f64,
}

impl Case {
    /// Values in [-1.5, 1.5].
    pub fn of(shapes: &[&[usize]]) -> Self {
        let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
        Self { shapes, range: (-1.5, 1.5), bf16: 0.05 }
    }

    /// Values in another range.
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { range: (low, high), ..self }
    }

    /// Leaves bf16 out.
    pub fn without_bf16(self) -> Self {
        Self { bf16: 0.0, ..self }
    }

    fn inputs(&self) -> Vec<Array> {
        random::scope(7, 0, || {
            self.shapes
                .iter()
                .map(|shape| {
                    let len = shape.iter().product();
                    let (low, high) = self.range;
                    let values: Vec<f64> = random::uniform(len)
                        .iter()
                        .map(|u| low + (high - low) * f64::from(*u))
                        .collect();
                    Array::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap()
                })
                .collect()
        })
    }
}

/// The same values, laid out with gaps and an offset.
fn strided(array: &Array) -> Array {
    if array.rank() == 0 {
        return array.clone();
    }
    let last = array.rank() - 1;
    let reversed: Vec<usize> = (0..array.rank()).rev().collect();
    let turned = array.permute(reversed.clone()).unwrap().contiguous().unwrap();
    let padded = turned.pad_with_zeros(last, 1, 2).unwrap();
    padded.narrow(last, 1, array.dims()[0]).unwrap().permute(reversed).unwrap()
}

/// A fixed weight per output element, so that every element counts differently.
fn projection(shape: &[usize], dtype: DType) -> Array {
    let len: usize = shape.iter().product();
    let values: Vec<f64> = (0..len).map(|i| ((i as f64 + 1.0) * 0.7548776662).sin()).collect();
    Array::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Standard normal values, f32, the same each time.
pub(crate) fn noise(shape: impl Into<candle_core::Shape>) -> Array {
    let shape = shape.into();
    let values = random::scope(13, 0, || random::normal(shape.elem_count()));
    Array::from_vec(values, shape, &Device::Cpu).unwrap()
}

thread_local! {
    /// Where the gate computes at the moment.
    static DEVICE: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// What an operation takes beside the gate's inputs (indices, labels, statistics), where the gate
/// computes.
pub(crate) fn here(tensor: &Tensor) -> Tensor {
    Tensor::constant(DEVICE.with_borrow(|device| tensor.array().to_device(device)).unwrap())
}

/// How an operation is computed on a device.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By kernels of ours.
    Kernel,
    /// By candle's operations.
    Portable,
    /// By CUDA kernels, emulated.
    Emulated,
}

impl Way {
    fn scope<T>(self, mode: Mode, body: impl FnOnce() -> T) -> T {
        match self {
            Self::Kernel => mode::scope(mode, body),
            Self::Portable => mode::scope(Mode { portable: true, ..mode }, body),
            Self::Emulated => mode::scope(mode, || emulated::scope(body)),
        }
    }
}

/// The ways to compute an operation.
fn ways() -> Vec<(Way, Device)> {
    let gpu = Device::new_cuda(0).ok().map(|device| (Way::Kernel, device));
    [Way::Kernel, Way::Portable, Way::Emulated]
        .map(|way| (way, Device::Cpu))
        .into_iter()
        .chain(gpu)
        .collect()
}

type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Sum of the projected output; random operations draw the same each time.
fn value(f: Function<'_>, inputs: &[Array]) -> f64 {
    let inputs: Vec<Tensor> = inputs.iter().cloned().map(Tensor::constant).collect();
    let output = random::scope(11, 0, || f(&inputs)).unwrap().array();
    let weights = projection(output.dims(), output.dtype());
    let sum = (output * weights).unwrap().to_dtype(DType::F64).unwrap().sum_all().unwrap();
    sum.to_scalar::<f64>().unwrap()
}

fn analytic(f: Function<'_>, inputs: &[Array]) -> (Array, Vec<Option<Array>>) {
    let leaves: Vec<Tensor> = inputs.iter().map(|x| tape::input(strided(x))).collect();
    let output = random::scope(11, 0, || f(&leaves)).unwrap();
    let array = output.array();
    let weights = projection(array.dims(), array.dtype()).to_device(array.device()).unwrap();
    let mut parameters = crate::Gradients::default();
    let grads = tape::backward_from(&[(output, weights)], &leaves, &mut parameters).unwrap();
    (array, grads)
}

fn numeric(f: Function<'_>, inputs: &[Array], which: usize) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let base = inputs[which].flatten_all().unwrap().to_vec1::<f64>().unwrap();
    (0..base.len())
        .map(|element| {
            let at = |delta: f64| {
                let mut values = base.clone();
                values[element] += delta;
                let mut inputs = inputs.to_vec();
                inputs[which] =
                    Array::from_vec(values, inputs[which].shape(), &Device::Cpu).unwrap();
                value(f, &inputs)
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        })
        .collect()
}

fn flat(array: &Array) -> Vec<f64> {
    array.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let scale = expected.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{what}: element {index} is {found}, expected {expected} (largest {scale})"
        );
    }
}

/// Passes `f` through the gate.
#[track_caller]
pub(crate) fn check(case: Case, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let f: Function<'_> = &f;
    let inputs = case.inputs();
    let training = Mode { training: true, ..mode::current() };
    let (expected, slopes): (Vec<f64>, Vec<Vec<f64>>) = mode::scope(training, || {
        let expected = analytic(f, &inputs).0;
        (flat(&expected), (0..inputs.len()).map(|i| numeric(f, &inputs, i)).collect())
    });
    for (way, device) in ways() {
        DEVICE.set(device.clone());
        way.scope(training, || {
            let compare = |dtype: DType, tolerance: f64| {
                let place = |x: &Array| x.to_dtype(dtype)?.to_device(&device);
                let inputs: Vec<Array> = inputs.iter().map(|x| place(x).unwrap()).collect();
                let (output, grads) = analytic(f, &inputs);
                let way = format!("{way:?} on {:?}, {dtype:?}", device.location());
                close(&format!("{way}: output"), &flat(&output), &expected, tolerance);
                for (index, (grad, slope)) in grads.iter().zip(&slopes).enumerate() {
                    let what = format!("{way}: gradient of input {index}");
                    let grad = grad.as_ref().unwrap_or_else(|| panic!("{what} is missing"));
                    assert_eq!(grad.dims(), inputs[index].dims(), "{what}: shape");
                    assert_eq!(grad.dtype(), dtype, "{what}: element type");
                    close(&what, &flat(grad), slope, tolerance);
                }
            };
            compare(DType::F64, 1e-6);
            compare(DType::F32, 2e-4);
            if case.bf16 > 0.0 {
                compare(DType::BF16, case.bf16);
            }
        });
    }
    DEVICE.set(Device::Cpu);
}
