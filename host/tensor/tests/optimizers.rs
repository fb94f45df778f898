//! Optimizers against PyTorch, exact resumption, clipping and moving averages.
//!
//! `fixtures/optimizers.safetensors` is written by `fixtures/optimizers.py`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hssl_tensor::optim::{AdamW, Averages, Clip, Group, Lars, Optimizer, Sgd, Step, ema};
use hssl_tensor::{Array, DType, Device, Gradients, Parameter, mode};
use safetensors::SafeTensors;

const NAMES: [&str; 3] = ["weight", "bias", "zero"];
const STEPS: usize = 4;

/// The recorded tensors and, by case, the optimizer's settings.
struct Recorded {
    bytes: Vec<u8>,
    cases: BTreeMap<String, Settings>,
}

struct Settings {
    kind: String,
    lr: f64,
    weight_decay: f64,
    momentum: f64,
    nesterov: bool,
}

impl Settings {
    fn optimizer(&self, parameters: &[Arc<Parameter>]) -> Box<dyn Optimizer> {
        let groups = vec![Group::new(parameters.to_vec(), self.lr, self.weight_decay)];
        match self.kind.as_str() {
            "adamw" => Box::new(AdamW::new(groups).unwrap()),
            "sgd" => Box::new(Sgd::new(groups, self.momentum, self.nesterov).unwrap()),
            "lars" => Box::new(Lars::new(groups).unwrap()),
            other => panic!("unknown optimizer {other}"),
        }
    }
}

impl Recorded {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/optimizers.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let cases = metadata.metadata().clone().unwrap().into_iter().map(|(case, settings)| {
            let words: Vec<&str> = settings.split(' ').collect();
            let number = |index: usize| words[index].parse::<f64>().unwrap();
            let settings = Settings {
                kind: words[0].into(),
                lr: number(1),
                weight_decay: number(2),
                momentum: number(3),
                nesterov: words[4] == "1",
            };
            (case, settings)
        });
        let cases = cases.collect();
        Self { bytes, cases }
    }

    fn array(&self, name: &str) -> Array {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap();
        Array::from_raw_buffer(view.data(), DType::F32, view.shape(), &Device::Cpu).unwrap()
    }

    fn parameters(&self, case: &str, dtype: DType) -> Vec<Arc<Parameter>> {
        NAMES
            .iter()
            .map(|name| {
                let value = self.array(&format!("{case}/{name}/start"));
                Parameter::trainable(*name, value.to_dtype(dtype).unwrap())
            })
            .collect()
    }

    fn gradients(&self, case: &str, step: usize, parameters: &[Arc<Parameter>]) -> Gradients {
        let mut gradients = Gradients::default();
        for parameter in parameters {
            let name = format!("{case}/{}/gradient.{step}", parameter.name());
            let gradient = self.array(&name).to_dtype(parameter.value().dtype()).unwrap();
            gradients.insert(parameter, gradient);
        }
        gradients
    }
}

fn values(array: &Array) -> Vec<f64> {
    array.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(parameters: &[Arc<Parameter>]) -> Vec<Vec<u32>> {
    parameters
        .iter()
        .map(|p| p.value().flatten_all().unwrap().to_vec1::<f32>().unwrap())
        .map(|values| values.into_iter().map(f32::to_bits).collect())
        .collect()
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let limit = tolerance * expected.abs().max(1.0);
        assert!((found - expected).abs() <= limit, "{what}: {found}, expected {expected}");
    }
}

/// Fused kernels, candle's operations, and parameters in f64.
#[test]
fn steps_agree_with_torch() {
    let recorded = Recorded::read();
    for (case, settings) in &recorded.cases {
        for (portable, dtype) in [(false, DType::F32), (true, DType::F32), (false, DType::F64)] {
            mode::scope(mode::Mode { portable, ..mode::current() }, || {
                let parameters = recorded.parameters(case, dtype);
                let mut optimizer = settings.optimizer(&parameters);
                for step in 0..STEPS {
                    optimizer.groups_mut()[0].lr = settings.lr / (step + 1) as f64;
                    optimizer.step(&recorded.gradients(case, step, &parameters)).unwrap();
                    for parameter in &parameters {
                        let name = format!("{case}/{}/value.{step}", parameter.name());
                        let expected = values(&recorded.array(&name));
                        let what = format!("{name} (portable: {portable}, {dtype:?})");
                        close(&what, &values(&parameter.value()), &expected, 3e-6);
                    }
                }
            });
        }
    }
}

#[test]
fn a_resumed_run_continues_bit_for_bit() {
    let recorded = Recorded::read();
    for (case, settings) in &recorded.cases {
        let parameters = recorded.parameters(case, DType::F32);
        let mut optimizer = settings.optimizer(&parameters);
        // The bias joins one step later than the others: its step count differs.
        let mut first = recorded.gradients(case, 0, &parameters);
        first.remove(&parameters[1]);
        optimizer.step(&first).unwrap();
        optimizer.step(&recorded.gradients(case, 1, &parameters)).unwrap();

        let state = optimizer.state().unwrap();
        let again: Vec<_> =
            parameters.iter().map(|p| Parameter::trainable(p.name(), p.value())).collect();
        let mut resumed = settings.optimizer(&again);
        resumed.load_state(&state).unwrap();
        for step in 2..STEPS {
            optimizer.step(&recorded.gradients(case, step, &parameters)).unwrap();
            resumed.step(&recorded.gradients(case, step, &again)).unwrap();
        }
        assert_eq!(bits(&parameters), bits(&again), "{case}");
        let steps = |optimizer: &dyn Optimizer| -> Vec<(String, i64)> {
            let state = optimizer.state().unwrap().into_iter();
            let counts = state.filter(|(name, _)| name.ends_with(".step"));
            counts.map(|(name, count)| (name, count.to_scalar().unwrap())).collect()
        };
        let expected = [("weight", 4), ("bias", 3), ("zero", 4)];
        assert_eq!(steps(&*resumed), expected.map(|(name, n)| (format!("{name}.step"), n)));
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let parameter = |name: &str, shape: &[usize]| {
        Parameter::trainable(name, Array::ones(shape, DType::F32, &Device::Cpu).unwrap())
    };
    let optimizer = |parameter: &Arc<Parameter>| {
        AdamW::new(vec![Group::new(vec![parameter.clone()], 0.1, 0.0)]).unwrap()
    };
    let old = parameter("weight", &[2, 3]);
    let mut first = optimizer(&old);
    let mut gradients = Gradients::default();
    gradients.insert(&old, old.value());
    first.step(&gradients).unwrap();
    let state = first.state().unwrap();

    let refusal = |name: &str, shape: &[usize], state: &[(String, Array)]| {
        optimizer(&parameter(name, shape)).load_state(state).unwrap_err().to_string()
    };
    let message = refusal("weight", &[3, 2], &state);
    assert!(message.contains("[2, 3] for weight.exp_avg; expected [3, 2]"), "{message}");
    let message = refusal("other", &[2, 3], &state);
    assert!(message.contains("`weight.exp_avg` belongs to no parameter"), "{message}");
    let message = refusal("weight", &[2, 3], &state[..2]);
    assert!(message.contains("no `weight.exp_avg_sq`"), "{message}");

    let twice = vec![Group::new(vec![old.clone(), old.clone()], 0.1, 0.0)];
    assert!(Sgd::new(twice, 0.9, false).unwrap_err().to_string().contains("`weight` occurs twice"));
    gradients.insert(&old, Array::ones((3, 2), DType::F32, &Device::Cpu).unwrap());
    let message = first.step(&gradients).unwrap_err().to_string();
    assert!(message.contains("gradient [3, 2] for weight; expected [2, 3]"), "{message}");
}

/// Weight decay, too, leaves a parameter without a gradient alone; each group has its own rate.
#[test]
fn groups_have_their_own_rates() {
    let ones = |name: &str| {
        Parameter::trainable(name, Array::ones((2, 3), DType::F32, &Device::Cpu).unwrap())
    };
    let [fast, slow, idle] = ["fast", "slow", "idle"].map(ones);
    let mut groups = vec![
        Group::new(vec![fast.clone(), idle.clone()], 1.0, 0.5),
        Group::new(vec![slow.clone()], 1.0, 0.0),
    ];
    groups[1].lr_scale = 0.25;
    let mut optimizer = Sgd::new(groups, 0.0, false).unwrap();
    let mut gradients = Gradients::default();
    // A transposed gradient and one that repeats a value: layouts that backward passes give.
    let gradient = Array::ones((3, 2), DType::F32, &Device::Cpu).unwrap().t().unwrap();
    gradients.insert(&fast, gradient);
    let gradient = Array::new(1f32, &Device::Cpu).unwrap().broadcast_as((2, 3)).unwrap();
    gradients.insert(&slow, gradient);
    let before = fast.value();
    optimizer.step(&gradients).unwrap();
    assert_eq!(values(&fast.value()), [-0.5; 6]);
    assert_eq!(values(&slow.value()), [0.75; 6]);
    assert_eq!(values(&idle.value()), [1.0; 6]);
    assert_eq!(values(&before), [1.0; 6], "a value that was read before stays as it was");
}

#[test]
fn clipping_limits_norms() {
    let parameters: Vec<_> = [("long", [2, 2]), ("short", [1, 2]), ("none", [1, 1])]
        .into_iter()
        .map(|(name, shape)| {
            Parameter::trainable(name, Array::zeros(&shape, DType::F32, &Device::Cpu).unwrap())
        })
        .collect();
    let of = |values: &[f32], shape: (usize, usize)| {
        Array::from_slice(values, shape, &Device::Cpu).unwrap()
    };
    let mut gradients = Gradients::default();
    gradients.insert(&parameters[0], of(&[2.0, -2.0, 2.0, -2.0], (2, 2)));
    gradients.insert(&parameters[1], of(&[0.0, 3.0], (1, 2)));
    // A step of plain descent at rate 1 from 0 shows what was left of each gradient.
    let left = |clip: Clip| {
        let fresh: Vec<_> = parameters.iter().map(|parameter| parameter.value()).collect();
        let groups = vec![Group::new(parameters.clone(), 1.0, 0.0)];
        let mut optimizer = Sgd::new(groups, 0.0, false).unwrap();
        optimizer.update(&Step { clip, ..Step::new(&gradients) }).unwrap();
        let moved: Vec<_> =
            parameters.iter().map(|p| values(&(p.value() * -1.0).unwrap())).collect();
        for (parameter, value) in parameters.iter().zip(fresh) {
            parameter.set(&value).unwrap();
        }
        moved
    };

    let clip = Clip::per_tensor(&gradients, &parameters, 3.5).unwrap();
    assert_eq!(clip.norms, [Some(4.0), Some(3.0), None]);
    let found = left(clip);
    close("long", &found[0], &[1.75, -1.75, 1.75, -1.75], 1e-6);
    assert_eq!(found[1], [0.0, 3.0]);

    let clip = Clip::global(&gradients, &parameters, 1.0).unwrap();
    assert_eq!(clip.norms, [Some(4.0), Some(3.0), None]);
    let found = left(clip);
    close("long", &found[0], &[0.4, -0.4, 0.4, -0.4], 1e-6);
    close("short", &found[1], &[0.0, 0.6], 1e-6);

    let found = left(Clip::per_tensor(&gradients, &parameters, 0.0).unwrap());
    assert_eq!(found[0], [2.0, -2.0, 2.0, -2.0], "0 limits nothing");
}

/// Clipping and teachers in the pass of the step give what they give one after the other.
#[test]
fn a_step_clips_and_moves_teachers_on_its_way() {
    let recorded = Recorded::read();
    for (case, settings) in &recorded.cases {
        for (portable, dtype) in [(false, DType::F32), (true, DType::F32), (false, DType::F64)] {
            mode::scope(mode::Mode { portable, ..mode::current() }, || {
                let together = recorded.parameters(case, dtype);
                let apart = recorded.parameters(case, dtype);
                let teachers = |of: &[Arc<Parameter>]| -> Vec<_> {
                    of.iter().map(|p| Parameter::fixed(p.name(), p.value())).collect()
                };
                let (followers, expected) = (teachers(&together), teachers(&apart));
                // The last parameter is not trained; its teacher moves all the same.
                followers[2].set(&(followers[2].value() + 1.0).unwrap()).unwrap();
                expected[2].set(&followers[2].value()).unwrap();
                let mut first = settings.optimizer(&together[..2]);
                let mut second = settings.optimizer(&apart[..2]);
                for step in 0..STEPS {
                    let gradients = recorded.gradients(case, step, &together);
                    let clip = Clip::per_tensor(&gradients, &together, 0.1).unwrap();
                    let norms = clip.norms.clone();
                    let pairs = followers.iter().cloned().zip(together.iter().cloned()).collect();
                    let averages = Averages { momentum: 0.75, pairs };
                    first.update(&Step { gradients: &gradients, clip, averages }).unwrap();

                    let mut scaled = Gradients::default();
                    let plain = recorded.gradients(case, step, &apart);
                    for (parameter, norm) in apart.iter().zip(norms) {
                        let factor = (0.1 / (norm.unwrap() + 1e-6)).min(1.0);
                        let gradient = plain.get(parameter).unwrap();
                        scaled.insert(parameter, (gradient * factor).unwrap());
                    }
                    second.step(&scaled).unwrap();
                    for (teacher, student) in expected.iter().zip(&apart) {
                        ema(teacher, student, 0.75).unwrap();
                    }
                    let pairs =
                        together.iter().chain(&followers).zip(apart.iter().chain(&expected));
                    for (found, expected) in pairs {
                        let what =
                            format!("{case}/{} (portable: {portable}, {dtype:?})", found.name());
                        close(&what, &values(&found.value()), &values(&expected.value()), 1e-6);
                    }
                }
            });
        }
    }
    let of = |name, shape: (usize, usize)| {
        Parameter::trainable(name, Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
    };
    let (teacher, student) = (of("t", (2, 3)), of("s", (3, 2)));
    let mut optimizer =
        Sgd::new(vec![Group::new(vec![student.clone()], 1.0, 0.0)], 0.0, false).unwrap();
    let mut gradients = Gradients::default();
    gradients.insert(&student, student.value());
    let averages = Averages { momentum: 0.5, pairs: vec![(teacher, student)] };
    let refused = optimizer.update(&Step { averages, ..Step::new(&gradients) }).unwrap_err();
    assert!(refused.to_string().contains("[3, 2] of s; expected [2, 3] of t"), "{refused}");
}

#[test]
fn a_teacher_moves_towards_its_student() {
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let of = |name, value: f64| {
            Parameter::fixed(
                name,
                Array::full(value, (100, 300), &Device::Cpu).unwrap().to_dtype(dtype).unwrap(),
            )
        };
        let (teacher, student) = (of("teacher", 1.0), of("student", 3.0));
        ema(&teacher, &student, 0.75).unwrap();
        assert_eq!(teacher.value().dtype(), dtype);
        assert!(values(&teacher.value()).iter().all(|value| *value == 1.5));
        assert!(values(&student.value()).iter().all(|value| *value == 3.0));

        // What both have in common does not drift, however often it is averaged.
        let fixed = of("teacher", 0.7);
        let before = values(&fixed.value());
        for _ in 0..1000 {
            ema(&fixed, &of("student", 0.7), 0.996).unwrap();
        }
        assert_eq!(values(&fixed.value()), before);
    }
    let of = |name, shape: (usize, usize)| {
        Parameter::fixed(name, Array::zeros(shape, DType::F32, &Device::Cpu).unwrap())
    };
    let message = ema(&of("t", (2, 3)), &of("s", (3, 2)), 0.5).unwrap_err().to_string();
    assert!(message.contains("[3, 2] of s; expected [2, 3] of t"), "{message}");
}
