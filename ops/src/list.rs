//! The list itself. Append; never reorder, renumber or edit what a release has shipped.

use crate::{Attribute, DType, OpInfo, PadMode, ResizeMode, Words};

macro_rules! ops {
    ($( $(#[$doc:meta])* $id:literal $name:ident $since:literal { $($attribute:ident : $kind:ty),* $(,)? } )*) => {
        /// An operation with its attributes. Inputs are named in the variant's documentation, in order;
        /// inputs in brackets may be left out from the right.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $( $(#[$doc])* $name {
                $( #[allow(missing_docs, reason = "the variant's documentation explains its attributes")] $attribute: $kind ),*
            } ),*
        }

        /// Every operation in the order of introduction.
        pub const LIST: &[OpInfo] = &[ $( OpInfo {
            id: $id,
            name: stringify!($name),
            attributes: &[ $( (stringify!($attribute), <$kind as Attribute>::KIND) ),* ],
            since: $since,
        } ),* ];

        impl Op {
            /// The stable id that crosses the boundary.
            pub fn id(&self) -> u32 {
                match self { $( Self::$name { .. } => $id ),* }
            }

            /// The name in messages and profiles.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$name { .. } => stringify!($name) ),* }
            }

            /// The attributes as words.
            pub fn encode(&self) -> Vec<i64> {
                let mut words = Vec::new();
                match self {
                    $( Self::$name { $($attribute),* } => { $( $attribute.put(&mut words); )* } ),*
                }
                words
            }

            /// Rebuilds an operation; `None` for an unknown id or words that do not fit it.
            pub fn decode(id: u32, words: &[i64]) -> Option<Self> {
                let mut words = Words::new(words);
                let op = match id {
                    $( $id => Self::$name { $( $attribute: Attribute::take(&mut words)? ),* }, )*
                    _ => return None,
                };
                words.is_empty().then_some(op)
            }
        }
    };
}

ops! {
    // Arithmetic with broadcasting (NumPy rules); floats of two widths meet in the wider one.
    /// a + b. Inputs: a, b.
    1 Add "1.0" {}
    /// a - b. Inputs: a, b.
    2 Sub "1.0" {}
    /// a * b. Inputs: a, b.
    3 Mul "1.0" {}
    /// a / b. Inputs: a, b.
    4 Div "1.0" {}
    /// The larger of each pair; a tie gives each side half of the gradient. Inputs: a, b.
    5 Maximum "1.0" {}
    /// The smaller of each pair; a tie gives each side half of the gradient. Inputs: a, b.
    6 Minimum "1.0" {}
    /// mul * x + add. Inputs: x.
    7 Affine "1.0" { mul: f64, add: f64 }
    /// x to a constant power. Inputs: x.
    8 Powf "1.0" { exponent: f64 }
    /// x limited to [min, max]; the gradient is zero outside. Inputs: x.
    9 Clamp "1.0" { min: f64, max: f64 }

    // Comparisons: u8, 1 where true; no gradient.
    /// a == b. Inputs: a, b.
    10 Eq "1.0" {}
    /// a != b. Inputs: a, b.
    11 Ne "1.0" {}
    /// a < b. Inputs: a, b.
    12 Lt "1.0" {}
    /// a <= b. Inputs: a, b.
    13 Le "1.0" {}
    /// a > b. Inputs: a, b.
    14 Gt "1.0" {}
    /// a >= b. Inputs: a, b.
    15 Ge "1.0" {}
    /// `on_true` where the u8 condition is not 0, else `on_false`; all broadcast. Inputs: condition, on_true, on_false.
    16 Where "1.0" {}

    // Elementwise functions.
    /// -x. Inputs: x.
    20 Neg "1.0" {}
    /// e^x. Inputs: x.
    21 Exp "1.0" {}
    /// Natural logarithm. Inputs: x.
    22 Log "1.0" {}
    /// Square root. Inputs: x.
    23 Sqrt "1.0" {}
    /// x * x. Inputs: x.
    24 Square "1.0" {}
    /// |x|, gradient 0 at 0. Inputs: x.
    25 Abs "1.0" {}
    /// Sine, radians. Inputs: x.
    26 Sin "1.0" {}
    /// Cosine, radians. Inputs: x.
    27 Cos "1.0" {}
    /// Hyperbolic tangent. Inputs: x.
    28 Tanh "1.0" {}
    /// 1 / (1 + e^-x). Inputs: x.
    29 Sigmoid "1.0" {}
    /// max(x, 0). Inputs: x.
    30 Relu "1.0" {}
    /// x * sigmoid(x). Inputs: x.
    31 Silu "1.0" {}
    /// x * Phi(x) with the exact error function. Inputs: x.
    32 Gelu "1.0" {}

    // Reductions. Dimensions may be negative (from the end).
    /// Sum over `dims` (all if empty). Inputs: x.
    40 Sum "1.0" { dims: Vec<i64>, keepdim: bool }
    /// Mean over `dims` (all if empty). Inputs: x.
    41 Mean "1.0" { dims: Vec<i64>, keepdim: bool }
    /// Largest along `dim`; the gradient goes to the first largest. Inputs: x.
    42 Max "1.0" { dim: i64, keepdim: bool }
    /// Smallest along `dim`; the gradient goes to the first smallest. Inputs: x.
    43 Min "1.0" { dim: i64, keepdim: bool }
    /// Index (i64) of the first largest along `dim`. Inputs: x.
    44 Argmax "1.0" { dim: i64, keepdim: bool }
    /// Index (i64) of the first smallest along `dim`. Inputs: x.
    45 Argmin "1.0" { dim: i64, keepdim: bool }
    /// Variance over `dims` (all if empty), divided by n - correction. Inputs: x.
    46 Var "1.0" { dims: Vec<i64>, correction: usize, keepdim: bool }
    /// log(sum(exp(x))) along `dim`, stable. Inputs: x.
    47 LogSumExp "1.0" { dim: i64, keepdim: bool }
    /// The `k` largest (or smallest) of the last dimension, in order. Outputs: values, indices (i64). Inputs: x.
    48 TopK "1.0" { k: usize, largest: bool }
    /// The last dimension in order, stable. Outputs: values, indices (i64). Inputs: x.
    49 Sort "1.0" { descending: bool }
    /// Running sum along `dim`. Inputs: x.
    50 CumSum "1.0" { dim: i64 }

    // Shape and selection.
    /// Same elements in row-major order, another shape; one -1 is inferred. Inputs: x.
    60 Reshape "1.0" { shape: Vec<i64> }
    /// Dimensions in another order. Inputs: x.
    61 Permute "1.0" { dims: Vec<i64> }
    /// Repeats dimensions of size 1, prepending missing ones. Inputs: x.
    62 BroadcastTo "1.0" { shape: Vec<usize> }
    /// `len` entries of `dim` from `start`. Inputs: x.
    63 Narrow "1.0" { dim: i64, start: usize, len: usize }
    /// Joins along `dim`. Inputs: one or more of equal shape but for `dim`.
    64 Cat "1.0" { dim: i64 }
    /// out\[..i..\] = x\[..index\[..i..\]..\] along `dim`. Inputs: x, index (i64, same rank).
    65 Gather "1.0" { dim: i64 }
    /// Whole slices of `dim` in the index's order. Inputs: x, index (i64, rank 1).
    66 IndexSelect "1.0" { dim: i64 }
    /// x with `source` added at `index` along `dim`; equal indices add up. Inputs: x, index (i64, shape of source), source.
    67 ScatterAdd "1.0" { dim: i64 }
    /// Shifts with wrap-around. Inputs: x.
    68 Roll "1.0" { shifts: Vec<i64>, dims: Vec<i64> }
    /// Grows each dimension by (before, after), `pads` as b0, a0, b1, a1, ...; `value` fills in constant mode. Inputs: x.
    69 Pad "1.0" { pads: Vec<usize>, mode: PadMode, value: f64 }
    /// Reverses dimensions. Inputs: x.
    70 Flip "1.0" { dims: Vec<i64> }
    /// Another element type; the gradient is cast back. Inputs: x.
    71 Cast "1.0" { dtype: DType }
    /// The value without its history. Inputs: x.
    72 Detach "1.0" {}

    // Layers. Maps are channels-last (B, H, W, C); weights keep PyTorch's layout.
    /// Batched product over the last two dimensions; leading ones broadcast. Inputs: a, b.
    80 Matmul "1.0" {}
    /// x w^T + b. Inputs: x (.., I), w (O, I), \[b (O)\].
    81 Linear "1.0" {}
    /// Cross-correlation. Inputs: x (B, H, W, I), w (O, I/groups, kh, kw), \[b (O)\].
    82 Conv2d "1.0" { stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize }
    /// The adjoint of [`Op::Conv2d`]. Inputs: x (B, H, W, I), w (I, O/groups, kh, kw), \[b (O)\].
    83 ConvTranspose2d "1.0" { stride: [usize; 2], padding: [usize; 2], output_padding: [usize; 2], dilation: [usize; 2], groups: usize }
    /// Largest of each window; padding never wins. Inputs: x (B, H, W, C).
    84 MaxPool2d "1.0" { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2] }
    /// Mean of each window, with or without its padding. Inputs: x (B, H, W, C).
    85 AvgPool2d "1.0" { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], count_include_pad: bool }
    /// Mean over `output` bins of near-equal size. Inputs: x (B, H, W, C).
    86 AdaptiveAvgPool2d "1.0" { output: [usize; 2] }
    /// Over the last dimension, biased variance. Inputs: x (.., C), \[weight (C)\], \[bias (C)\].
    87 LayerNorm "1.0" { eps: f64 }
    /// Over all but the last dimension. With `training`, statistics are the batch's, and outputs 1 and 2 are the updated
    /// running mean and variance (momentum is the share of the new value; unbiased variance). Outputs: y, \[mean, var\].
    /// Inputs: x (.., C), running_mean (C), running_var (C), \[weight (C)\], \[bias (C)\].
    88 BatchNorm "1.0" { eps: f64, momentum: f64, training: bool }
    /// Over positions and the channels of each group. Inputs: x (B, .., C), \[weight (C)\], \[bias (C)\].
    89 GroupNorm "1.0" { groups: usize, eps: f64 }
    /// x / max(||x||_2, eps) along `dim`. Inputs: x.
    90 L2Normalize "1.0" { dim: i64, eps: f64 }
    /// Rows g_k v_k / ||v_k||. Inputs: v (K, ..), g (K) or (K, 1, ..).
    91 WeightNorm "1.0" {}
    /// e^x / sum(e^x) along `dim`. Inputs: x.
    92 Softmax "1.0" { dim: i64 }
    /// log of [`Op::Softmax`], stable. Inputs: x.
    93 LogSoftmax "1.0" { dim: i64 }
    /// -sum_k target_k log_softmax(logits / temperature)_k per row; no gradient to the target.
    /// Inputs: logits (.., K), target (.., K). Output: (..).
    94 SoftCrossEntropy "1.0" { temperature: f64 }
    /// -log_softmax(logits)_label per row; rows with `ignore_index` give 0. Inputs: logits (N, K), labels (N) i64. Output: (N).
    95 CrossEntropy "1.0" { label_smoothing: f64, ignore_index: i64 }
    /// softmax(scale q k^T + bias) v per head. Inputs: q (B, heads, N, D), k (B, heads, M, D), v (B, heads, M, E),
    /// \[bias, broadcast to (B, heads, N, M)\]. Outputs: out (B, heads, N, E) and, with `return_weights`, the weights.
    96 Attention "1.0" { scale: f64, return_weights: bool }
    /// Spatial resize. `scale` overrides output/input (0, 0: derived). Antialiasing widens the kernel when shrinking.
    /// Inputs: x (B, H, W, C).
    97 Resize "1.0" { output: [usize; 2], mode: ResizeMode, align_corners: bool, antialias: bool, scale_h: f64, scale_w: f64 }
    /// Zeroes elements with probability p and divides the rest by 1 - p; identity outside training. Inputs: x.
    98 Dropout "1.0" { p: f64 }
    /// [`Op::Dropout`] of whole samples (dimension 0). Inputs: x.
    99 DropPath "1.0" { p: f64 }

    // Creation.
    /// One value. No inputs.
    110 Full "1.0" { shape: Vec<usize>, value: f64, dtype: DType }
    /// start, start + step, ..., `len` values. No inputs.
    111 Arange "1.0" { start: f64, step: f64, len: usize, dtype: DType }
    /// Uniform on [low, high) from the host's generator, f32. No inputs.
    112 Uniform "1.0" { shape: Vec<usize>, low: f64, high: f64 }
    /// Normal from the host's generator, f32. No inputs.
    113 Normal "1.0" { shape: Vec<usize>, mean: f64, std: f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What plugins in users' hands were compiled against. Regenerate with `UPDATE_OP_VERSIONS=1`
    /// after *appending* an operation; any other change of an existing line is refused here.
    #[test]
    fn the_version_file_only_grows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/op-versions.txt");
        let recorded = std::fs::read_to_string(path).unwrap_or_default();
        let recorded: Vec<&str> = recorded.lines().collect();
        let current: Vec<String> = LIST.iter().map(ToString::to_string).collect();
        for line in &recorded {
            assert!(
                current.iter().any(|known| known == line),
                "operation `{line}` of op-versions.txt was removed or changed; plugins built against it would break"
            );
        }
        if std::env::var_os("UPDATE_OP_VERSIONS").is_some() {
            std::fs::write(path, current.join("\n") + "\n").unwrap();
            return;
        }
        assert_eq!(
            current, recorded,
            "append the new operations with UPDATE_OP_VERSIONS=1 cargo test -p hssl-ops"
        );
    }

    #[test]
    fn ids_are_unique_and_ascending() {
        assert!(LIST.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn attributes_survive_the_words() {
        let op = Op::Conv2d { stride: [2, 1], padding: [3, 0], dilation: [1, 2], groups: 4 };
        assert_eq!(Op::decode(op.id(), &op.encode()), Some(op));
        let op = Op::Pad { pads: vec![0, 1, 2, 3], mode: PadMode::Reflect, value: -0.5 };
        assert_eq!(Op::decode(op.id(), &op.encode()), Some(op));
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        assert_eq!(Op::decode(9999, &[]), None);
        assert_eq!(Op::decode(8, &[]), None, "missing exponent");
        assert_eq!(Op::decode(1, &[7]), None, "a word too many");
        assert_eq!(Op::decode(68, &[i64::MAX, 1]), None, "a length beyond the words");
        assert_eq!(Op::decode(98, &[0, 0]), None);
    }
}
