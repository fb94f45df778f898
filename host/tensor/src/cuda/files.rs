//! The files of kernels.

use super::Kernels;

/// A constant for each file, and a list of all.
macro_rules! files {
    ($($name:ident $file:literal)*) => {
        $(
            pub(crate) static $name: Kernels =
                Kernels { file: $file, text: include_str!(concat!("../", $file)) };
        )*

        /// All of them.
        #[cfg(all(test, feature = "cuda"))]
        pub(super) static ALL: &[&Kernels] = &[$(&$name),*];
    };
}

files! {
    ADAMW "optim/adamw.cu"
    ATTENTION "ops/attention.cu"
    AUGMENT "cuda/augment.cu"
    CLIP "optim/clip.cu"
    CONVOLUTION "ops/convolution.cu"
    DEPTHWISE "ops/depthwise.cu"
    GELU "ops/gelu.cu"
    LAYER_NORM "ops/layer_norm.cu"
    LINEAR "ops/linear.cu"
    LOG_SOFTMAX "ops/log_softmax.cu"
    PER_CHANNEL "ops/per_channel.cu"
    SOFT_CROSS_ENTROPY "ops/soft_cross_entropy.cu"
    SOFTMAX "ops/softmax.cu"
    SUMS "cuda/sums.cu"
    VIEWS "cuda/views.cu"
}
