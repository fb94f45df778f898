//! What the tape promises: gradients that add up, graphs of any depth, one walk per graph, nothing
//! recorded in inference, and checkpointed blocks that change memory but no bit of the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hssl_tensor::mode::{self, Mode};
use hssl_tensor::{
    Array, DType, Device, Gradients, Parameter, Result, Tensor, backward, checkpoint, ops, random,
    tape,
};

/// States that recorded operations hold for their gradients: now, and at most so far.
#[derive(Default)]
struct Saved {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Hold(Arc<Saved>);

impl Hold {
    fn new(saved: &Arc<Saved>) -> Self {
        let now = saved.now.fetch_add(1, Ordering::SeqCst) + 1;
        saved.most.fetch_max(now, Ordering::SeqCst);
        Self(saved.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// 2 x by an operation that saves something.
fn double(x: &Tensor, saved: &Arc<Saved>) -> Result<Tensor> {
    let hold = Hold::new(saved);
    Ok(tape::record("Double", &[x], (x.array() * 2.0)?, move |grad| {
        let _used = &hold;
        Ok(vec![Some((grad * 2.0)?)])
    }))
}

fn values(array: &Array) -> Vec<f32> {
    array.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn drawn(seed: u64, shape: &[usize]) -> Array {
    let len = shape.iter().product();
    let values = random::scope(seed, 0, || random::normal(len));
    Array::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// The sum of all elements, by the operations of this crate.
fn total(x: &Tensor) -> Result<Tensor> {
    let len = x.dims().iter().product::<usize>();
    let ones = Tensor::constant(Array::ones((len, 1), DType::F32, &Device::Cpu)?);
    ops::matmul(&ops::cast(&ops::reshape(x, &[1, -1])?, DType::F32)?, &ones)
}

/// A residual block with dropout.
fn block(x: &Tensor, weight: &Arc<Parameter>) -> Result<Tensor> {
    let hidden = ops::gelu(&ops::matmul(x, &Tensor::parameter(weight))?)?;
    ops::add(x, &ops::cast(&ops::dropout(&hidden, 0.3)?, x.dtype())?)
}

struct Outcome {
    output: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    next_draw: Vec<f32>,
}

/// Trains three blocks of shared and own weights, each run by `run`.
fn train(run: impl Fn(&Tensor, &Arc<Parameter>) -> Result<Tensor>, settings: Mode) -> Outcome {
    let weights: Vec<Arc<Parameter>> =
        (0..3).map(|i| Parameter::trainable(format!("w{i}"), drawn(i, &[6, 6]))).collect();
    random::scope(9, 4, || {
        let loss = mode::scope(settings, || {
            let first =
                ops::matmul(&Tensor::constant(drawn(5, &[4, 6])), &Tensor::parameter(&weights[0]))
                    .unwrap();
            let mut x = ops::cast(&first, DType::F32).unwrap();
            for which in [0, 1, 2, 1] {
                x = run(&x, &weights[which]).unwrap();
            }
            x
        });
        let output = values(&loss.array());
        let next_draw = random::uniform(5);
        let gradients = backward(&total(&loss).unwrap()).unwrap();
        let gradients = weights.iter().map(|w| values(gradients.get(w).unwrap())).collect();
        Outcome { output, gradients, next_draw }
    })
}

fn same(plain: &Outcome, other: &Outcome) {
    assert_eq!(plain.output, other.output);
    assert_eq!(plain.gradients, other.gradients);
    assert_eq!(plain.next_draw, other.next_draw, "later draws must not depend on checkpoints");
}

fn one(outputs: Result<Vec<Tensor>>) -> Result<Tensor> {
    outputs.map(|mut outputs| outputs.remove(0))
}

fn checkpointed(x: &Tensor, weight: &Arc<Parameter>) -> Result<Tensor> {
    let weight = weight.clone();
    one(checkpoint(&[x], move |x| Ok(vec![block(&x[0], &weight)?])))
}

#[test]
fn checkpoints_change_no_bit() {
    for autocast in [false, true] {
        // The backward pass runs in another mode, as after the scope of a forward pass.
        let settings = Mode { training: true, autocast, ..mode::current() };
        let plain = train(block, settings);
        same(&plain, &train(checkpointed, settings));
        let nested = |x: &Tensor, weight: &Arc<Parameter>| {
            let weight = weight.clone();
            one(checkpoint(&[x], move |x| Ok(vec![checkpointed(&x[0], &weight)?])))
        };
        same(&plain, &train(nested, settings));
        let untrained = train(block, Mode { training: false, ..settings });
        assert_ne!(
            plain.output, untrained.output,
            "dropout must act for this test to mean anything"
        );
    }
}

#[test]
fn checkpoints_save_one_block_at_a_time() {
    const BLOCKS: usize = 8;
    const DEPTH: usize = 5;
    let run = |checkpointing: bool| {
        let saved = Arc::new(Saved::default());
        let mut x = tape::input(drawn(1, &[2, 3]));
        let leaf = x.clone();
        for _ in 0..BLOCKS {
            let counter = saved.clone();
            let body = move |x: &[Tensor]| {
                let chain = (0..DEPTH).try_fold(x[0].clone(), |x, _| double(&x, &counter))?;
                Ok(vec![chain])
            };
            x = one(if checkpointing { checkpoint(&[&x], body) } else { body(&[x]) }).unwrap();
        }
        let after_forward = saved.now.load(Ordering::SeqCst);
        let grad = x.array().ones_like().unwrap();
        let mut parameters = Gradients::default();
        let grads = tape::backward_from(&[(x, grad)], &[leaf], &mut parameters).unwrap();
        let expected = 2f32.powi((BLOCKS * DEPTH) as i32);
        assert_eq!(values(grads[0].as_ref().unwrap()), [expected; 6]);
        assert_eq!(saved.now.load(Ordering::SeqCst), 0, "the backward pass frees what it used");
        (after_forward, saved.most.load(Ordering::SeqCst))
    };
    assert_eq!(run(false), (BLOCKS * DEPTH, BLOCKS * DEPTH));
    assert_eq!(run(true), (0, DEPTH));
}

#[test]
fn nested_checkpoints_save_less_than_one_block() {
    const PARTS: usize = 6;
    let saved = Arc::new(Saved::default());
    let counter = saved.clone();
    let x = tape::input(drawn(1, &[2, 3]));
    let y = one(checkpoint(&[&x], move |x| {
        let mut x = x[0].clone();
        for _ in 0..PARTS {
            let counter = counter.clone();
            let part = move |x: &[Tensor]| Ok(vec![double(&double(&x[0], &counter)?, &counter)?]);
            x = one(checkpoint(&[&x], part))?;
        }
        Ok(vec![x])
    }));
    let y = y.unwrap();
    let grad = y.array().ones_like().unwrap();
    let grads = tape::backward_from(&[(y, grad)], &[x], &mut Gradients::default()).unwrap();
    assert_eq!(values(grads[0].as_ref().unwrap()), [2f32.powi(2 * PARTS as i32); 6]);
    assert_eq!(saved.most.load(Ordering::SeqCst), 2);
}

#[test]
fn checkpoints_have_several_outputs_and_share_parameters_with_the_rest() {
    let run = |checkpointing: bool| {
        let shared = Parameter::trainable("shared", drawn(1, &[3, 3]));
        let inner = Parameter::trainable("inner", drawn(2, &[3, 3]));
        let unused = Parameter::trainable("unused", drawn(3, &[3, 3]));
        let x = Tensor::constant(drawn(4, &[2, 3]));
        let tracked = ops::matmul(&x, &Tensor::parameter(&shared)).unwrap();
        let weights = (shared.clone(), inner.clone(), unused.clone());
        let body = move |x: &[Tensor]| {
            let product = |x: &Tensor, w: &Arc<Parameter>| ops::matmul(x, &Tensor::parameter(w));
            let both = ops::add(&product(&x[0], &weights.0)?, &product(&x[1], &weights.1)?)?;
            Ok(vec![ops::gelu(&both)?, product(&x[0], &weights.2)?, both])
        };
        let inputs = [&tracked, &x];
        let outputs = if checkpointing {
            checkpoint(&inputs, body).unwrap()
        } else {
            body(&inputs.map(Clone::clone)).unwrap()
        };
        let sum =
            ops::add(&outputs[0], &ops::matmul(&outputs[2], &Tensor::parameter(&shared)).unwrap());
        let gradients = backward(&total(&sum.unwrap()).unwrap()).unwrap();
        assert!(gradients.get(&unused).is_none(), "nothing used that output");
        [&shared, &inner].map(|w| values(gradients.get(w).unwrap()))
    };
    assert_eq!(run(false), run(true));
}

/// How often a checkpointed product with `weight` runs in a forward and, if it has one, backward pass.
fn runs(x: &Tensor, weight: &Arc<Parameter>) -> (usize, bool) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, weight) = (count.clone(), weight.clone());
    let y = one(checkpoint(&[x], move |x| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(vec![ops::matmul(&x[0], &Tensor::parameter(&weight))?])
    }))
    .unwrap();
    let tracked = y.is_tracked();
    if tracked {
        backward(&total(&y).unwrap()).unwrap();
    }
    (count.load(Ordering::SeqCst), tracked)
}

#[test]
fn a_block_runs_twice_only_for_a_gradient() {
    let value = drawn(1, &[3, 3]);
    let (trainable, fixed) =
        (Parameter::trainable("w", value.clone()), Parameter::fixed("w", value.clone()));
    let (constant, leaf) = (Tensor::constant(value.clone()), tape::input(value));
    assert_eq!(runs(&constant, &trainable), (2, true));
    assert_eq!(runs(&leaf, &fixed), (2, true));
    assert_eq!(runs(&constant, &fixed), (1, false), "frozen blocks need no second run");
    assert_eq!(mode::no_grad(|| runs(&leaf, &trainable)), (1, false));
}

#[test]
fn an_input_without_history_costs_no_gradient() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let (x, y) = (Tensor::constant(drawn(1, &[2, 3])), tape::input(drawn(2, &[2, 3])));
    let z = one(checkpoint(&[&x, &y], move |inputs| {
        counter.fetch_add(usize::from(inputs[0].is_tracked()), Ordering::SeqCst);
        Ok(vec![ops::add(&inputs[0], &inputs[1])?])
    }));
    let gradients = backward(&total(&z.unwrap()).unwrap()).unwrap();
    assert!(gradients.is_empty());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_tensor_that_a_block_took_from_outside_is_named() {
    let x = tape::input(drawn(1, &[2, 3]));
    let outside = ops::gelu(&x).unwrap();
    let captured = outside.clone();
    let y = one(checkpoint(&[&x], move |x| Ok(vec![ops::add(&x[0], &captured)?]))).unwrap();
    let message = backward(&total(&y).unwrap()).unwrap_err().to_string();
    assert!(message.contains("`Gelu` from outside"), "{message}");
}

/// Runs `body` on a stack that a recursion over nodes would overflow.
fn on_a_small_stack(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(body).unwrap().join().unwrap();
}

fn chain(nodes: usize) -> (Tensor, Tensor) {
    let leaf = tape::input(Array::ones(1, DType::F32, &Device::Cpu).unwrap());
    let end = (0..nodes).fold(leaf.clone(), |x, _| {
        tape::record("Same", &[&x], x.array(), |grad| Ok(vec![Some(grad.clone())]))
    });
    (leaf, end)
}

#[test]
fn a_graph_of_a_hundred_thousand_operations_is_walked_and_dropped() {
    on_a_small_stack(|| drop(chain(100_000)));
    on_a_small_stack(|| {
        let (leaf, end) = chain(100_000);
        let grad = end.array();
        let grads = tape::backward_from(&[(end, grad)], &[leaf], &mut Gradients::default());
        assert_eq!(values(grads.unwrap()[0].as_ref().unwrap()), [1.0]);
    });
    // Two ends keep the chain alive in turn.
    on_a_small_stack(|| {
        let (_, end) = chain(100_000);
        let branch = ops::add(&end, &end).unwrap();
        drop(end);
        drop(branch);
    });
}

#[test]
fn a_second_walk_of_one_graph_is_refused() {
    let w = Parameter::trainable("w", drawn(1, &[2, 2]));
    let loss = total(&ops::gelu(&Tensor::parameter(&w)).unwrap()).unwrap();
    backward(&loss).unwrap();
    let message = backward(&loss).unwrap_err().to_string();
    assert!(message.contains("`Matmul` was differentiated before"), "{message}");
    // Also where only a part is shared.
    let shared = ops::gelu(&Tensor::parameter(&w)).unwrap();
    let losses = [total(&shared).unwrap(), total(&shared).unwrap()];
    backward(&losses[0]).unwrap();
    let message = backward(&losses[1]).unwrap_err().to_string();
    assert!(message.contains("`Gelu` was differentiated before"), "{message}");
}

#[test]
fn what_has_no_gradient_is_refused() {
    let w = Parameter::trainable("w", drawn(1, &[2, 2]));
    let message = backward(&Tensor::parameter(&w)).unwrap_err().to_string();
    assert!(message.contains("a scalar is needed; found [2, 2]"), "{message}");
    let constant = total(&Tensor::constant(drawn(1, &[2, 2]))).unwrap();
    let message = backward(&constant).unwrap_err().to_string();
    assert!(message.contains("no trainable parameter"), "{message}");
}

#[test]
fn gradients_add_up_over_every_use() {
    let (x, y) = (tape::input(drawn(1, &[2, 3])), tape::input(drawn(2, &[2, 3])));
    // x is used five times, twice by way of a shared result; y once. `Add` hands one and the same
    // gradient to both sides, so a sum made in place in the wrong array would show in the other.
    let shared = ops::add(&x, &y).unwrap();
    let twice = ops::add(&shared, &shared).unwrap();
    let sum = [&x, &x, &x].iter().fold(twice, |sum, x| ops::add(&sum, x).unwrap());
    let grad = drawn(3, &[2, 3]);
    let roots = [(sum, grad.clone())];
    let grads = tape::backward_from(&roots, &[x.clone(), y, x], &mut Gradients::default()).unwrap();
    let times = |k: f32| values(&grad).iter().map(|g| k * g).collect::<Vec<_>>();
    let close = |found: &Option<Array>, expected: Vec<f32>| {
        for (found, expected) in values(found.as_ref().unwrap()).iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} for {expected}");
        }
    };
    close(&grads[0], times(5.0));
    close(&grads[1], times(2.0));
    assert_eq!(values(&roots[0].1), values(&grad), "the caller's gradient is untouched");
}

#[test]
fn parts_of_a_split_give_one_gradient_in_memory_order() {
    let x = tape::input(drawn(1, &[2, 4, 3, 5]));
    let turned = ops::permute(&x, &[2, 0, 1, 3]).unwrap();
    let part = |i| ops::narrow(&turned, 0, i, 1).unwrap();
    let joined = ops::cat(&[&part(2), &part(0), &part(1)], 0).unwrap();
    let grad = drawn(2, &[3, 2, 4, 5]);
    let grads = tape::backward_from(&[(joined, grad.clone())], &[x], &mut Gradients::default());
    let grad_of_x = grads.unwrap().remove(0).unwrap();
    assert!(grad_of_x.is_contiguous(), "no further copy is needed to go on");
    for (place, part) in [(2, 0), (0, 1), (1, 2)] {
        let found = grad_of_x.narrow(2, place, 1).unwrap().squeeze(2).unwrap();
        let expected = grad.narrow(0, part, 1).unwrap().squeeze(0).unwrap();
        assert_eq!(values(&found), values(&expected));
    }
}

#[test]
fn gradients_of_steps_merge() {
    let w = Parameter::trainable("w", drawn(1, &[2, 2]));
    let other = Parameter::trainable("v", drawn(1, &[2, 2]));
    let step =
        |parameter: &Arc<Parameter>| backward(&total(&Tensor::parameter(parameter)).unwrap());
    let mut sum = step(&w).unwrap();
    sum.merge(step(&w).unwrap()).unwrap();
    sum.merge(step(&other).unwrap()).unwrap();
    assert_eq!(values(sum.get(&w).unwrap()), [2.0; 4]);
    assert_eq!(values(sum.get(&other).unwrap()), [1.0; 4]);
}

#[test]
fn inference_records_nothing() {
    let saved = Arc::new(Saved::default());
    let w = Parameter::trainable("w", drawn(1, &[2, 2]));
    let y = mode::no_grad(|| {
        let x = ops::matmul(&Tensor::parameter(&w), &tape::input(drawn(2, &[2, 2]))).unwrap();
        let part = ops::narrow(&double(&x, &saved).unwrap(), 0, 0, 1).unwrap();
        double(&part, &saved).unwrap()
    });
    assert!(!y.is_tracked());
    assert_eq!((saved.now.load(Ordering::SeqCst), saved.most.load(Ordering::SeqCst)), (0, 1));
    assert!(mode::current().recording, "the former mode is back");
    assert!(double(&Tensor::parameter(&w), &saved).unwrap().is_tracked());
}
