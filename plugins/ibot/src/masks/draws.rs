//! Random numbers of the host, one by one.

use hssl_plugin_api::{Context, Result};

/// Uniform numbers are asked for by so many at a time.
const AT_ONCE: usize = 1024;

/// A supply of uniform random numbers.
pub struct Draws<'a> {
    more: Box<dyn FnMut(usize) -> Result<Vec<f32>> + 'a>,
    left: std::vec::IntoIter<f32>,
}

impl<'a> Draws<'a> {
    /// From the host's generator.
    pub fn of_host(cx: &'a Context<'_>) -> Self {
        Self::new(|n| cx.uniform(n, 0.0, 1.0)?.to_vec())
    }

    /// From what makes so many numbers in [0, 1).
    pub fn new(more: impl FnMut(usize) -> Result<Vec<f32>> + 'a) -> Self {
        Self { more: Box::new(more), left: Vec::new().into_iter() }
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> Result<f64> {
        loop {
            if let Some(number) = self.left.next() {
                return Ok(f64::from(number));
            }
            self.left = (self.more)(AT_ONCE)?.into_iter();
        }
    }

    /// Between two numbers, whichever is larger.
    pub fn between(&mut self, a: f64, b: f64) -> Result<f64> {
        Ok(a + (b - a) * self.unit()?)
    }

    /// One of 0, 1, ..., n - 1.
    pub fn below(&mut self, n: usize) -> Result<usize> {
        let drawn = (self.unit()? * n as f64) as usize;
        Ok(drawn.min(n.saturating_sub(1)))
    }

    /// So many of `items`, without repetition (all, if there are no more).
    pub fn sample<T>(&mut self, mut items: Vec<T>, count: usize) -> Result<Vec<T>> {
        let count = count.min(items.len());
        for chosen in 0..count {
            let other = chosen + self.below(items.len() - chosen)?;
            items.swap(chosen, other);
        }
        items.truncate(count);
        Ok(items)
    }
}

#[cfg(test)]
pub mod tests {
    use super::Draws;

    /// A fixed sequence (Steele et al., 2014: SplitMix64).
    pub fn draws(seed: u64) -> Draws<'static> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
        };
        Draws::new(move |n| Ok((0..n).map(|_| next()).collect()))
    }

    #[test]
    fn a_sample_has_no_item_twice_and_all_equally_often() {
        let mut draws = draws(1);
        let mut counts = [0; 6];
        for _ in 0..3000 {
            let sample = draws.sample((0..6).collect(), 2).unwrap();
            assert!(sample.len() == 2 && sample[0] != sample[1]);
            sample.iter().for_each(|item| counts[*item] += 1);
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(draws.sample(vec![7], 3).unwrap(), [7]);
    }
}
