//! The one source of random numbers: ChaCha8, counter-based and seekable.
//!
//! A scope opens a generator with [`scope`] from a seed and a stream; what is drawn inside depends
//! on these two and on the order of draws alone, never on threads or devices. A training step uses
//! its own index as the stream, so a resumed run draws what the uninterrupted one would have.

use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// A position in a stream of random words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    seed: u64,
    stream: u64,
    word: u64,
}

thread_local! {
    static CURRENT: Cell<Generator> = const { Cell::new(Generator { seed: 0, stream: 0, word: 0 }) };
}

/// Runs `body` with a fresh generator; the former one comes back afterwards.
pub fn scope<T>(seed: u64, stream: u64, body: impl FnOnce() -> T) -> T {
    resume(Generator { seed, stream, word: 0 }, body)
}

/// Puts the current scope's generator at the start of a stream.
pub fn restart(seed: u64, stream: u64) {
    CURRENT.set(Generator { seed, stream, word: 0 });
}

/// The current generator, to be continued with [`resume`].
pub fn snapshot() -> Generator {
    CURRENT.get()
}

/// Runs `body` with `generator`; the former one comes back afterwards.
pub fn resume<T>(generator: Generator, body: impl FnOnce() -> T) -> T {
    struct Restore(Generator);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(generator));
    body()
}

/// Values per independently seeked block; a multiple of ChaCha's 16-word block.
const BLOCK: usize = 4096;

/// Fills by blocks in parallel; `words` random words make one value.
fn fill(len: usize, words: u64, value: impl Fn(&mut ChaCha8Rng) -> f32 + Sync) -> Vec<f32> {
    let start = CURRENT.get();
    let used = (len as u64 * words).next_multiple_of(16);
    CURRENT.set(Generator { word: start.word + used, ..start });
    let mut values = vec![0f32; len];
    values.par_chunks_mut(BLOCK).enumerate().for_each(|(block, values)| {
        let mut rng = ChaCha8Rng::seed_from_u64(start.seed);
        rng.set_stream(start.stream);
        rng.set_word_pos(u128::from(start.word + (block * BLOCK) as u64 * words));
        values.iter_mut().for_each(|slot| *slot = value(&mut rng));
    });
    values
}

/// 24 bits: every f32 in [0, 1) on the grid of 2^-24.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
}

/// `len` values, uniform on [0, 1).
pub fn uniform(len: usize) -> Vec<f32> {
    fill(len, 1, |rng| unit(rng.next_u32()))
}

/// `len` values, standard normal (Box-Muller).
pub fn normal(len: usize) -> Vec<f32> {
    fill(len, 2, |rng| {
        let radius = (-2.0 * (1.0 - unit(rng.next_u32())).ln()).sqrt();
        radius * (std::f32::consts::TAU * unit(rng.next_u32())).cos()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_stream_draw_the_same() {
        let draw = |seed, stream| scope(seed, stream, || (uniform(10_000), normal(5000)));
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn draws_do_not_repeat_within_a_scope() {
        scope(3, 0, || assert_ne!(uniform(100), uniform(100)));
    }

    #[test]
    fn a_snapshot_continues_where_it_was_taken() {
        scope(3, 0, || {
            uniform(7);
            let here = snapshot();
            let first = normal(9);
            assert_eq!(resume(here, || normal(9)), first);
            assert_ne!(normal(9), first);
        });
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        scope(5, 0, || {
            let n = 200_000;
            let mean =
                |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            let uniform = uniform(n);
            assert!((mean(&uniform) - 0.5).abs() < 3e-3);
            assert!(uniform.iter().all(|v| (0.0..1.0).contains(v)));
            let normal = normal(n);
            let squares: Vec<f32> = normal.iter().map(|v| v * v).collect();
            assert!(mean(&normal).abs() < 8e-3 && (mean(&squares) - 1.0).abs() < 1.5e-2);
        });
    }
}
