//! Single operations.

use std::path::Path;
use std::time::{Duration, Instant};

use hssl_tensor::mode::{self, Mode};
use hssl_tensor::{Array, DType, Device, Gradients, Op, Tensor, dispatch, random, tape};
use serde::{Deserialize, Serialize};

use super::median;
use super::update::Update;
use crate::config::Precision;
use crate::error::{Error, Result};

/// An operation on noise of given shapes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Case {
    /// What a table calls it.
    pub name: String,
    /// Shapes of its inputs, in the operation's order.
    pub shapes: Vec<Vec<usize>>,
    /// The operation.
    #[serde(flatten)]
    pub work: Work,
}

/// What is computed. Maps are channels-last, as everywhere.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Work {
    /// x (.., I), w (O, I), b (O).
    Linear,
    /// x (B, H, W, I), w (O, I/groups, kh, kw), b (O); stride 1.
    Conv2d {
        /// Zeros on each side.
        padding: usize,
        /// Groups of channels; as many as channels for a depthwise convolution.
        groups: usize,
    },
    /// x (.., C), w (C), b (C).
    LayerNorm,
    /// x (.., C), running mean (C) and variance (C), w (C), b (C); the batch's statistics.
    BatchNorm,
    /// x.
    Gelu,
    /// x, over the last dimension.
    Softmax,
    /// q, k, v (B, heads, N, D).
    Attention,
    /// logits (N, K), target (N, K).
    SoftCrossEntropy {
        /// Divides the logits.
        temperature: f64,
    },
    /// A whole update of parameters of these shapes: gradients clipped one by one, AdamW, the
    /// teacher's average. Always in f32.
    Update,
}

/// How long an operation takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationTime {
    /// The case's name.
    pub name: String,
    /// `forward`, `both` (forward and backward to every input that has a gradient) or `update`.
    pub pass: &'static str,
    /// `f32`, or `bf16`: activations in bf16, parameters in f32, under autocast.
    pub precision: &'static str,
    /// Median, milliseconds.
    pub ms: f64,
    /// Shortest, milliseconds.
    pub ms_min: f64,
    /// Calls that were timed.
    pub calls: usize,
}

/// Reads the cases of a file: `[[op]]` tables.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_cases(file: &Path) -> Result<Vec<Case>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cases {
        op: Vec<Case>,
    }
    let text =
        std::fs::read_to_string(file).map_err(|error| Error::file(file, "cannot read", error))?;
    let cases: Cases =
        toml::from_str(&text).map_err(|error| Error::content(file, error.to_string()))?;
    Ok(cases.op)
}

/// Times a case for at least `time` a pass, after two calls that are not counted. What has no bf16
/// form has no times in bf16.
///
/// # Errors
/// The shapes do not fit the operation, or the device failed.
pub fn bench_operation(
    case: &Case,
    device: &Device,
    precision: Precision,
    time: Duration,
) -> Result<Vec<OperationTime>> {
    let (name, brief) = match precision {
        Precision::F32 => ("f32", false),
        Precision::Bf16 => ("bf16", true),
    };
    let named = |pass: &'static str, mut times: Vec<f64>| OperationTime {
        name: case.name.clone(),
        pass,
        precision: name,
        ms: median(&mut times),
        ms_min: times[0],
        calls: times.len(),
    };
    let Some((op, roles)) = case.work.operation(&case.shapes) else {
        if brief {
            return Ok(Vec::new());
        }
        let mut update = Update::new(&case.shapes, device)?;
        return Ok(vec![named("update", repeat(device, time, || update.step())?)]);
    };
    if roles.len() != case.shapes.len() {
        return Err(Error::Composition(format!(
            "{}: {} takes {} inputs; found {} shapes",
            case.name,
            op.name(),
            roles.len(),
            case.shapes.len()
        )));
    }
    let call = Call::new(op, &roles, &case.shapes, brief, device)?;
    mode::scope(Mode { training: true, autocast: brief, ..mode::current() }, || {
        let forward = repeat(device, time, || call.forward())?;
        let both = repeat(device, time, || call.both())?;
        Ok(vec![named("forward", forward), named("both", both)])
    })
}

/// What an input is to its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Comes from another layer; bf16 under autocast.
    Activation,
    /// Is trained.
    Parameter,
    /// Has no gradient.
    Given,
}

impl Work {
    /// The operation and its inputs' roles; `None` for the update, which is none.
    fn operation(&self, shapes: &[Vec<usize>]) -> Option<(Op, Vec<Role>)> {
        use Role::{Activation, Given, Parameter};
        let layer = vec![Activation, Parameter, Parameter];
        Some(match self {
            Self::Linear => (Op::Linear {}, layer),
            Self::Conv2d { padding, groups } => {
                let padding = [*padding; 2];
                let op = Op::Conv2d { stride: [1, 1], padding, dilation: [1, 1], groups: *groups };
                (op, layer)
            }
            Self::LayerNorm => (Op::LayerNorm { eps: 1e-6 }, layer),
            Self::BatchNorm => (
                Op::BatchNorm { eps: 1e-5, momentum: 0.1, training: true },
                vec![Activation, Given, Given, Parameter, Parameter],
            ),
            Self::Gelu => (Op::Gelu {}, vec![Activation]),
            Self::Softmax => (Op::Softmax { dim: -1 }, vec![Activation]),
            Self::Attention => {
                let width = shapes.first()?.last().copied()?;
                let scale = (width as f64).powf(-0.5);
                (Op::Attention { scale, return_weights: false }, vec![Activation; 3])
            }
            Self::SoftCrossEntropy { temperature } => {
                (Op::SoftCrossEntropy { temperature: *temperature }, vec![Activation, Given])
            }
            Self::Update => return None,
        })
    }
}

/// Milliseconds of each call.
fn repeat(
    device: &Device,
    time: Duration,
    mut call: impl FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let mut timed = || -> Result<f64> {
        let start = Instant::now();
        call()?;
        device.synchronize().map_err(hssl_tensor::Error::from)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    timed()?;
    timed()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 3 || start.elapsed() < time {
        times.push(timed()?);
    }
    Ok(times)
}

/// Noise of a shape.
pub(super) fn noise(shape: &[usize], dtype: DType, device: &Device) -> Result<Array> {
    let values = random::normal(shape.iter().product());
    let array = Array::from_vec(values, shape, &Device::Cpu)
        .and_then(|array| array.to_device(device)?.to_dtype(dtype))
        .map_err(hssl_tensor::Error::from)?;
    Ok(array)
}

/// An operation with what it is computed on.
struct Call {
    op: Op,
    device: Device,
    inputs: Vec<(Role, Array)>,
    /// The output's gradient.
    grad: Array,
}

impl Call {
    fn new(
        op: Op,
        roles: &[Role],
        shapes: &[Vec<usize>],
        brief: bool,
        device: &Device,
    ) -> Result<Self> {
        let input = |(role, shape): (&Role, &Vec<usize>)| -> Result<(Role, Array)> {
            let dtype = match role {
                Role::Activation if brief => DType::BF16,
                _ => DType::F32,
            };
            Ok((*role, noise(shape, dtype, device)?))
        };
        let inputs = roles.iter().zip(shapes).map(input).collect::<Result<Vec<_>>>()?;
        let tensors = inputs.iter().map(|(_, array)| Tensor::constant(array.clone()));
        let mode = Mode { training: true, autocast: brief, ..mode::current() };
        let output = mode::scope(mode, || Self::output(&op, &tensors.collect::<Vec<_>>(), device))?;
        let grad = noise(&output.dims(), output.dtype(), device)?;
        Ok(Self { op, device: device.clone(), inputs, grad })
    }

    fn output(op: &Op, inputs: &[Tensor], device: &Device) -> Result<Tensor> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        Ok(dispatch(op, &inputs, device)?.swap_remove(0))
    }

    /// The output alone.
    fn forward(&self) -> Result<()> {
        let tensors = self.inputs.iter().map(|(_, array)| Tensor::constant(array.clone()));
        Self::output(&self.op, &tensors.collect::<Vec<_>>(), &self.device).map(drop)
    }

    /// The output, and the gradients of all inputs that have one.
    fn both(&self) -> Result<()> {
        let tensor = |(role, array): &(Role, Array)| match role {
            Role::Given => Tensor::constant(array.clone()),
            Role::Activation | Role::Parameter => tape::input(array.clone()),
        };
        let tensors: Vec<Tensor> = self.inputs.iter().map(tensor).collect();
        let output = Self::output(&self.op, &tensors, &self.device)?;
        let tracked: Vec<Tensor> = tensors.into_iter().filter(Tensor::is_tracked).collect();
        let outputs = [(output, self.grad.clone())];
        tape::backward_from(&outputs, &tracked, &mut Gradients::default())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_benchmark_file_is_an_operation() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/ops.toml");
        let cases = read_cases(&file).unwrap();
        assert!(cases.len() > 8, "{}", cases.len());
        for case in cases {
            let Some((_, roles)) = case.work.operation(&case.shapes) else { continue };
            assert_eq!(roles.len(), case.shapes.len(), "{}", case.name);
        }
    }

    #[test]
    fn an_operation_is_timed_both_ways_in_both_precisions() {
        let case = Case {
            name: "linear".into(),
            shapes: vec![vec![4, 8], vec![3, 8], vec![3]],
            work: Work::Linear,
        };
        for (precision, name) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
            let found = bench_operation(&case, &Device::Cpu, precision, Duration::ZERO).unwrap();
            let passes: Vec<_> = found.iter().map(|time| (time.pass, time.calls)).collect();
            assert_eq!(passes, [("forward", 3), ("both", 3)]);
            assert!(found.iter().all(|time| time.precision == name && time.ms >= time.ms_min));
        }
    }

    #[test]
    fn an_update_moves_parameters_in_f32_only() {
        let case = Case { name: "update".into(), shapes: vec![vec![4, 8]], work: Work::Update };
        let f32 = bench_operation(&case, &Device::Cpu, Precision::F32, Duration::ZERO).unwrap();
        assert_eq!(f32[0].pass, "update");
        let bf16 = bench_operation(&case, &Device::Cpu, Precision::Bf16, Duration::ZERO).unwrap();
        assert_eq!(bf16, []);
    }

    #[test]
    fn a_file_of_something_else_is_named() {
        let file = std::env::temp_dir().join(format!("hssl-ops-{}.toml", std::process::id()));
        std::fs::write(&file, "[[op]]\nname = \"x\"\nshapes = [[2]]\nop = \"gelo\"\n").unwrap();
        let error = read_cases(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("gelo") && error.contains("hssl-ops"), "{error}");
    }
}
