//! Random numbers that depend on what they are for, not on who draws them when.
//!
//! Each view of each image has its own ChaCha8 generator, keyed by (seed, epoch, image, view). So
//! an epoch is the same for any number of threads and ranks, and from any batch on.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a generator is for: four numbers that make up its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// Position of the image in its set.
    pub index: u64,
}

/// A stream of random numbers with the draws that sampling and augmentation need. The streams are
/// part of what a seed promises: they don't change with a release of a random number crate.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of view `view` of an image.
    pub fn new(key: Key, view: u64) -> Self {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip([key.seed, key.epoch, key.index, view]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), 24 bits fine.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Uniform in 0..`n`, unbiased (Lemire, "Fast random integer generation in an interval").
    ///
    /// # Panics
    /// If `n` is 0 or above 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u32::try_from(n).expect("at most 2^32 choices");
        assert!(n > 0, "a choice among nothing");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.bits()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as usize;
            }
        }
    }

    /// A uniform permutation in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }
}
