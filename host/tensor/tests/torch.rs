//! Operations against PyTorch: outputs and gradients of recorded calls.
//!
//! `fixtures/*.safetensors` are written by `fixtures/make.py` (see there). A case is an operation's
//! id and attribute words, so these tests go the way a plugin's call goes.

use std::collections::BTreeMap;

use hssl_tensor::{Array, DType, Device, Gradients, Op, Tensor, dispatch, mode, random, tape};
use safetensors::SafeTensors;

fn array(view: &safetensors::tensor::TensorView<'_>) -> Array {
    use safetensors::Dtype;
    let (shape, data) = (view.shape(), view.data());
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::U8 => DType::U8,
        other => panic!("fixture of type {other:?}"),
    };
    Array::from_raw_buffer(data, dtype, shape, &Device::Cpu).unwrap()
}

fn values(array: &Array) -> Vec<f64> {
    array.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn compare(what: &str, found: &Array, expected: &Array) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let (found, expected) = (values(found), values(expected));
    let scale =
        expected.iter().filter(|x| x.is_finite()).fold(1e-3f64, |most, x| most.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let agree = found == expected || (found - expected).abs() <= 2e-5 * scale;
        assert!(agree, "{what}: element {index} is {found}, PyTorch has {expected}");
    }
}

fn run(file: &str) {
    let path = format!("{}/tests/fixtures/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let calls: BTreeMap<_, _> = metadata.metadata().clone().unwrap().into_iter().collect();
    assert!(!calls.is_empty(), "{path} holds no case");
    for (case, call) in calls {
        let words: Vec<i64> = call.split(' ').map(|word| word.parse().unwrap()).collect();
        let op = Op::decode(words[0] as u32, &words[1..])
            .unwrap_or_else(|| panic!("{case}: words {words:?} fit no operation"));
        let numbered = |kind: &str| -> Vec<Array> {
            (0..)
                .map_while(|i| tensors.tensor(&format!("{case}/{kind}.{i}")).ok())
                .map(|view| array(&view))
                .collect()
        };
        let inputs: Vec<Tensor> = numbered("input")
            .into_iter()
            .map(|x| if x.dtype().is_float() { tape::input(x) } else { Tensor::constant(x) })
            .collect();
        let training = mode::Mode { training: true, ..mode::current() };
        let outputs = mode::scope(training, || {
            random::scope(0, 0, || dispatch(&op, &inputs.iter().collect::<Vec<_>>(), &Device::Cpu))
        })
        .unwrap_or_else(|error| panic!("{case}: {error}"));
        for (index, expected) in numbered("output").iter().enumerate() {
            compare(&format!("{case} ({op:?}) output {index}"), &outputs[index].array(), expected);
        }
        // A cotangent for output 0 only; gradients for the inputs that PyTorch gave one to.
        let Ok(cotangent) = tensors.tensor(&format!("{case}/cotangent")) else { continue };
        let roots = [(outputs[0].clone(), array(&cotangent))];
        let grads = tape::backward_from(&roots, &inputs, &mut Gradients::default()).unwrap();
        for (index, grad) in grads.iter().enumerate() {
            if let Ok(expected) = tensors.tensor(&format!("{case}/grad.{index}")) {
                let what = format!("{case} ({op:?}) gradient of input {index}");
                compare(&what, grad.as_ref().expect(&what), &array(&expected));
            }
        }
    }
}

macro_rules! files {
    ($($name:ident),*) => { $( #[test] fn $name() { run(stringify!($name)); } )* };
}
files!(pointwise, reductions, shapes, convolutions, normalisation, products, losses, resizes);
