//! Plain loops compiled for the vector instructions of the processor at hand.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, which must be `#[inline(always)]` down to its loops, compiled for AVX-512, AVX2,
/// NEON or the baseline, whichever this processor has. Integer and element-wise float results do
/// not depend on which.
pub(super) fn vectorised<F: FnOnce()>(work: F) {
    struct Work<F>(F);
    impl<F: FnOnce()> WithSimd for Work<F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) {
            (self.0)();
        }
    }
    Arch::new().dispatch(Work(work));
}
