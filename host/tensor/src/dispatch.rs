//! From the operation list to the functions that compute.

use crate::ops::{self, Geometry};
use crate::profile::{self, Pass};
use crate::{DType, Device, Error, Op, Result, Tensor};

/// The wire's name of an element type.
pub fn to_wire(dtype: DType) -> Option<hssl_ops::DType> {
    Some(match dtype {
        DType::F32 => hssl_ops::DType::F32,
        DType::F64 => hssl_ops::DType::F64,
        DType::BF16 => hssl_ops::DType::BF16,
        DType::F16 => hssl_ops::DType::F16,
        DType::I64 => hssl_ops::DType::I64,
        DType::U32 => hssl_ops::DType::U32,
        DType::U8 => hssl_ops::DType::U8,
        _ => return None,
    })
}

/// The element type of a wire name.
pub fn from_wire(dtype: hssl_ops::DType) -> DType {
    match dtype {
        hssl_ops::DType::F32 => DType::F32,
        hssl_ops::DType::F64 => DType::F64,
        hssl_ops::DType::BF16 => DType::BF16,
        hssl_ops::DType::F16 => DType::F16,
        hssl_ops::DType::I64 => DType::I64,
        hssl_ops::DType::U32 => DType::U32,
        hssl_ops::DType::U8 => DType::U8,
    }
}

/// The `N` inputs of an operation that takes exactly `N`.
fn exactly<'a, const N: usize>(op: &Op, inputs: &[&'a Tensor]) -> Result<[&'a Tensor; N]> {
    const COUNTS: [&str; 4] = ["none", "1", "2", "3"];
    inputs.try_into().map_err(|_| Error::Inputs {
        op: op.name(),
        found: inputs.len(),
        expected: COUNTS[N],
    })
}

/// The `N` required inputs and up to two optional ones.
fn optional<'a, const N: usize>(
    op: &Op,
    inputs: &[&'a Tensor],
    most: usize,
    expected: &'static str,
) -> Result<([&'a Tensor; N], [Option<&'a Tensor>; 2])> {
    if inputs.len() < N || inputs.len() > most {
        return Err(Error::Inputs { op: op.name(), found: inputs.len(), expected });
    }
    let required = inputs[..N].try_into().expect("the length was checked");
    Ok((required, [inputs.get(N).copied(), inputs.get(N + 1).copied()]))
}

/// Computes `op` on `inputs`; operations without inputs create their result on `device`.
///
/// # Errors
/// The inputs do not fit the operation; see each operation.
pub fn dispatch(op: &Op, inputs: &[&Tensor], device: &Device) -> Result<Vec<Tensor>> {
    profile::time(op.name(), Pass::Forward, device, || compute(op, inputs, device))
}

fn compute(op: &Op, inputs: &[&Tensor], device: &Device) -> Result<Vec<Tensor>> {
    let one = |result: Result<Tensor>| result.map(|tensor| vec![tensor]);
    macro_rules! unary {
        ($f:ident $(, $attribute:expr)*) => {{
            let [x] = exactly(op, inputs)?;
            one(ops::$f(x $(, $attribute)*))
        }};
    }
    macro_rules! binary {
        ($f:ident $(, $attribute:expr)*) => {{
            let [a, b] = exactly(op, inputs)?;
            one(ops::$f(a, b $(, $attribute)*))
        }};
    }
    match op {
        Op::Add {} => binary!(add),
        Op::Sub {} => binary!(sub),
        Op::Mul {} => binary!(mul),
        Op::Div {} => binary!(div),
        Op::Maximum {} => binary!(maximum),
        Op::Minimum {} => binary!(minimum),
        Op::Affine { mul, add } => unary!(affine, *mul, *add),
        Op::Powf { exponent } => unary!(powf, *exponent),
        Op::Clamp { min, max } => unary!(clamp, *min, *max),
        Op::Eq {} => binary!(eq),
        Op::Ne {} => binary!(ne),
        Op::Lt {} => binary!(lt),
        Op::Le {} => binary!(le),
        Op::Gt {} => binary!(gt),
        Op::Ge {} => binary!(ge),
        Op::Where {} => {
            let [condition, on_true, on_false] = exactly(op, inputs)?;
            one(ops::select(condition, on_true, on_false))
        }
        Op::Neg {} => unary!(neg),
        Op::Exp {} => unary!(exp),
        Op::Log {} => unary!(log),
        Op::Sqrt {} => unary!(sqrt),
        Op::Square {} => unary!(square),
        Op::Abs {} => unary!(abs),
        Op::Sin {} => unary!(sin),
        Op::Cos {} => unary!(cos),
        Op::Tanh {} => unary!(tanh),
        Op::Sigmoid {} => unary!(sigmoid),
        Op::Relu {} => unary!(relu),
        Op::Silu {} => unary!(silu),
        Op::Gelu {} => unary!(gelu),
        Op::Sum { dims, keepdim } => unary!(sum, dims, *keepdim),
        Op::Mean { dims, keepdim } => unary!(mean, dims, *keepdim),
        Op::Max { dim, keepdim } => unary!(max, *dim, *keepdim),
        Op::Min { dim, keepdim } => unary!(min, *dim, *keepdim),
        Op::Argmax { dim, keepdim } => unary!(argmax, *dim, *keepdim),
        Op::Argmin { dim, keepdim } => unary!(argmin, *dim, *keepdim),
        Op::Var { dims, correction, keepdim } => unary!(var, dims, *correction, *keepdim),
        Op::LogSumExp { dim, keepdim } => unary!(log_sum_exp, *dim, *keepdim),
        Op::TopK { k, largest } => {
            let [x] = exactly(op, inputs)?;
            ops::top_k(x, *k, *largest)
        }
        Op::Sort { descending } => {
            let [x] = exactly(op, inputs)?;
            ops::sort(x, *descending)
        }
        Op::CumSum { dim } => unary!(cum_sum, *dim),
        Op::Reshape { shape } => unary!(reshape, shape),
        Op::Permute { dims } => unary!(permute, dims),
        Op::BroadcastTo { shape } => unary!(broadcast_to, shape),
        Op::Narrow { dim, start, len } => unary!(narrow, *dim, *start, *len),
        Op::Cat { dim } => one(ops::cat(inputs, *dim)),
        Op::Gather { dim } => binary!(gather, *dim),
        Op::IndexSelect { dim } => binary!(index_select, *dim),
        Op::ScatterAdd { dim } => {
            let [x, index, source] = exactly(op, inputs)?;
            one(ops::scatter_add(x, index, source, *dim))
        }
        Op::Roll { shifts, dims } => unary!(roll, shifts, dims),
        Op::Pad { pads, mode, value } => unary!(pad, pads, *mode, *value),
        Op::Flip { dims } => unary!(flip, dims),
        Op::Cast { dtype } => unary!(cast, from_wire(*dtype)),
        Op::Detach {} => unary!(detach),
        Op::Matmul {} => binary!(matmul),
        Op::Linear {} => {
            let ([x, weight], [bias, _]) = optional(op, inputs, 3, "2 or 3")?;
            one(ops::linear(x, weight, bias))
        }
        Op::Conv2d { stride, padding, dilation, groups } => {
            let ([x, weight], [bias, _]) = optional(op, inputs, 3, "2 or 3")?;
            let geometry = Geometry {
                stride: *stride,
                padding: *padding,
                dilation: *dilation,
                groups: *groups,
            };
            one(ops::conv2d(x, weight, bias, &geometry))
        }
        Op::ConvTranspose2d { stride, padding, output_padding, dilation, groups } => {
            let ([x, weight], [bias, _]) = optional(op, inputs, 3, "2 or 3")?;
            let geometry = Geometry {
                stride: *stride,
                padding: *padding,
                dilation: *dilation,
                groups: *groups,
            };
            one(ops::conv_transpose2d(x, weight, bias, &geometry, *output_padding))
        }
        Op::MaxPool2d { kernel, stride, padding } => {
            unary!(max_pool2d, *kernel, *stride, *padding)
        }
        Op::AvgPool2d { kernel, stride, padding, count_include_pad } => {
            unary!(avg_pool2d, *kernel, *stride, *padding, *count_include_pad)
        }
        Op::AdaptiveAvgPool2d { output } => unary!(adaptive_avg_pool2d, *output),
        Op::LayerNorm { eps } => {
            let ([x], [weight, bias]) = optional(op, inputs, 3, "1 to 3")?;
            one(ops::layer_norm(x, weight, bias, *eps))
        }
        Op::BatchNorm { eps, momentum, training } => {
            let ([x, mean, var], [weight, bias]) = optional(op, inputs, 5, "3 to 5")?;
            ops::batch_norm(x, mean, var, weight, bias, *eps, *momentum, *training)
        }
        Op::GroupNorm { groups, eps } => {
            let ([x], [weight, bias]) = optional(op, inputs, 3, "1 to 3")?;
            one(ops::group_norm(x, weight, bias, *groups, *eps))
        }
        Op::L2Normalize { dim, eps } => unary!(l2_normalize, *dim, *eps),
        Op::WeightNorm {} => binary!(weight_norm),
        Op::Softmax { dim } => unary!(softmax, *dim),
        Op::LogSoftmax { dim } => unary!(log_softmax, *dim),
        Op::SoftCrossEntropy { temperature } => binary!(soft_cross_entropy, *temperature),
        Op::CrossEntropy { label_smoothing, ignore_index } => {
            binary!(cross_entropy, *label_smoothing, *ignore_index)
        }
        Op::Attention { scale, return_weights } => {
            let ([q, k, v], [bias, _]) = optional(op, inputs, 4, "3 or 4")?;
            ops::attention(q, k, v, bias, *scale, *return_weights)
        }
        Op::Resize { output, mode, align_corners, antialias, scale_h, scale_w } => {
            unary!(resize, *output, *mode, *align_corners, *antialias, [*scale_h, *scale_w])
        }
        Op::Dropout { p } => unary!(dropout, *p),
        Op::DropPath { p } => unary!(drop_path, *p),
        Op::Full { shape, value, dtype } => {
            let [] = exactly(op, inputs)?;
            one(ops::full(shape, *value, from_wire(*dtype), device))
        }
        Op::Arange { start, step, len, dtype } => {
            let [] = exactly(op, inputs)?;
            one(ops::arange(*start, *step, *len, from_wire(*dtype), device))
        }
        Op::Uniform { shape, low, high } => {
            let [] = exactly(op, inputs)?;
            one(ops::uniform(shape, *low, *high, device))
        }
        Op::Normal { shape, mean, std } => {
            let [] = exactly(op, inputs)?;
            one(ops::normal(shape, *mean, *std, device))
        }
    }
}
