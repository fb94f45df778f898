//! The one source of random numbers: ChaCha8, counter-based and seekable.
//!
//! A scope opens a generator with [`scope`] from a seed and a stream; what is drawn inside depends
//! on these two and on the order of draws alone, never on threads or devices. A training step uses
//! its own index as the stream, so a resumed run draws what the uninterrupted one would have.

use std::cell::Cell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::cpu::vectorized;

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

/// Values per independently seeked block; a multiple of [`GROUP`].
const BLOCK: usize = 4096;
/// Words, and values made of them, that belong together; two of ChaCha's blocks.
const GROUP: usize = 32;

/// Fills by blocks in parallel, one word per value; `convert(words, values)` gets whole groups of words.
fn fill<T: Copy + Default + Send>(len: usize, convert: impl Fn(&[u32], &mut [T]) + Sync) -> Vec<T> {
    let start = CURRENT.get();
    let used = len.next_multiple_of(GROUP) as u64;
    CURRENT.set(Generator { word: start.word + used, ..start });
    let mut values = vec![T::default(); len];
    values.par_chunks_mut(BLOCK).enumerate().for_each(|(block, values)| {
        let mut rng = ChaCha8Rng::seed_from_u64(start.seed);
        rng.set_stream(start.stream);
        rng.set_word_pos(u128::from(start.word + (block * BLOCK) as u64));
        let mut words = [0u32; BLOCK];
        let words = &mut words[..values.len().next_multiple_of(GROUP)];
        words.iter_mut().for_each(|word| *word = rng.next_u32());
        vectorized(
            #[inline(always)]
            || convert(words, values),
        );
    });
    values
}

/// 24 bits: every f32 in [0, 1) on the grid of 2^-24.
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
}

/// `len` values, uniform on [0, 1).
pub fn uniform(len: usize) -> Vec<f32> {
    fill(
        len,
        #[inline(always)]
        |words, values| {
            values.iter_mut().zip(words).for_each(|(value, word)| *value = unit(*word));
        },
    )
}

/// `len` decisions, 1 with probability 1 - p, else 0: whether [`uniform`] would have drawn p or more.
pub fn kept(len: usize, p: f32) -> Vec<u8> {
    fill(
        len,
        #[inline(always)]
        |words, values| {
            let decide = |word: u32| u8::from(unit(word) >= p);
            values.iter_mut().zip(words).for_each(|(value, word)| *value = decide(*word));
        },
    )
}

/// `len` values, standard normal (Box and Muller, 1958).
pub fn normal(len: usize) -> Vec<f32> {
    const PAIRS: usize = GROUP / 2;
    fill(
        len,
        #[inline(always)]
        |words, values| {
            for (words, values) in words.chunks_exact(GROUP).zip(values.chunks_mut(GROUP)) {
                let mut pairs = [0f32; GROUP];
                let (cosines, sines) = pairs.split_at_mut(PAIRS);
                for i in 0..PAIRS {
                    let radius = (-2.0 * ln(1.0 - unit(words[i]))).sqrt();
                    let (sine, cosine) = sine_and_cosine(unit(words[PAIRS + i]));
                    cosines[i] = radius * cosine;
                    sines[i] = radius * sine;
                }
                values.copy_from_slice(&pairs[..values.len()]);
            }
        },
    )
}

/// Natural logarithm of a normal number in (0, 1], without branches (Cephes): x = m 2^e with m
/// between sqrt(1/2) and sqrt(2), and a polynomial in m - 1.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff) + SQRT_HALF_BITS);
    let f = m - 1.0;
    let mut p = 7.037_683_6e-2;
    p = p * f - 1.151_461e-1;
    p = p * f + 1.167_699_9e-1;
    p = p * f - 1.242_014e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_5e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 0.333_333_3;
    let square = f * f;
    f + (p * f * square - 2.121_944_4e-4 * e - 0.5 * square) + 0.693_359_4 * e
}

/// Sine and cosine of `turns` full turns in [0, 1], without branches: the nearest quarter turn and
/// polynomials over the rest (Cephes).
#[inline(always)]
fn sine_and_cosine(turns: f32) -> (f32, f32) {
    let quarter = (turns * 4.0 + 0.5).floor();
    let r = (turns - quarter * 0.25) * std::f32::consts::TAU;
    let z = r * r;
    let sine = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * r + r;
    let cosine =
        ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let quarter = quarter as i32;
    let (a, b) = if quarter & 1 == 0 { (sine, cosine) } else { (cosine, sine) };
    let a = if quarter & 2 == 0 { a } else { -a };
    let b = if (quarter + 1) & 2 == 0 { b } else { -b };
    (a, b)
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
    fn functions_are_those_of_the_library() {
        for i in 1..=100_000u32 {
            let x = i as f32 / 100_000.0;
            assert!((ln(x) - x.ln()).abs() <= 2e-7 * (1.0 + x.ln().abs()), "ln({x}) = {}", ln(x));
            let (sine, cosine) = sine_and_cosine(x);
            let (expected_sine, expected_cosine) = (f64::from(x) * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(sine) - expected_sine).abs() < 4e-7, "sine of {x} turns: {sine}");
            assert!((f64::from(cosine) - expected_cosine).abs() < 4e-7, "cosine of {x}: {cosine}");
        }
        assert!((ln(2f32.powi(-24)) + 24.0 * std::f32::consts::LN_2).abs() < 2e-6);
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn decisions_are_those_of_the_uniform_values() {
        for len in [5, 4096, 10_001] {
            let draws = scope(8, 1, || uniform(len));
            let expected: Vec<u8> = draws.iter().map(|draw| u8::from(*draw >= 0.3)).collect();
            assert_eq!(scope(8, 1, || kept(len, 0.3)), expected);
        }
    }

    #[test]
    fn neighbours_are_independent() {
        scope(6, 0, || {
            let n = 320_000;
            let values = normal(n);
            // Lags within a group, between the two values of a pair (16), and between groups.
            for lag in [1, 2, 15, 16, 17, 32, 4096] {
                let products = values.iter().zip(&values[lag..]).map(|(a, b)| f64::from(a * b));
                let correlation = products.sum::<f64>() / n as f64;
                assert!(correlation.abs() < 0.01, "lag {lag}: {correlation}");
            }
            let tail = values.iter().filter(|value| value.abs() > 2.0).count() as f64 / n as f64;
            assert!((tail - 0.0455).abs() < 0.002, "{tail} beyond two deviations");
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
