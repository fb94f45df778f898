//! Which patches the student sees.

use crate::{Context, DType, Result, Tensor};

/// The patches of a batch that are kept, in the order in which they are encoded; the others are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// Positions (images * K) among each image's patches.
    kept: Vec<i64>,
    images: usize,
    patches: usize,
}

impl Dropping {
    /// The `keep` patches of each image that have the smallest numbers of `noise` (images * patches),
    /// smallest first: so many at random, and each as often as any other.
    pub fn by_noise(noise: &[f32], patches: usize, keep: usize) -> Self {
        let images = noise.chunks(patches.max(1));
        let count = images.len();
        let order = |noise: &[f32]| -> Vec<i64> {
            let mut order: Vec<usize> = (0..noise.len()).collect();
            order.sort_by(|a, b| noise[*a].total_cmp(&noise[*b]));
            order.into_iter().take(keep).map(|patch| patch as i64).collect()
        };
        Self { kept: images.flat_map(order).collect(), images: count, patches }
    }

    /// What someone else keeps: (G, B, K) of (global crops, images, patches).
    pub fn given(kept: &Tensor, [crops, batch, patches]: [usize; 3]) -> Result<Self> {
        let (dims, values) = (kept.dims(), kept.cast(DType::I64)?.to_vec::<i64>()?);
        let keep = dims.last().copied().unwrap_or(0);
        if dims != [crops, batch, keep] || keep == 0 || keep >= patches {
            refuse!(
                "kept patches of the shape {dims:?} were given; expected ({crops} global crops, {batch} \
                 images, patches), the patches fewer than {patches} and at least 1"
            );
        }
        for (image, kept) in values.chunks(keep).enumerate() {
            let mut sorted = kept.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            let outside = sorted.iter().find(|patch| !(0..patches as i64).contains(*patch));
            if let Some(patch) = outside {
                refuse!(
                    "patch {patch} of crop {image} is to be kept; there are 0 to {}",
                    patches - 1
                );
            }
            if sorted.len() < keep {
                refuse!("the kept patches of crop {image} name a patch twice: {kept:?}");
            }
        }
        Ok(Self { kept: values, images: crops * batch, patches })
    }

    /// Kept patches of an image.
    pub fn keep(&self) -> usize {
        self.kept.len() / self.images.max(1)
    }

    /// (images, K), i64.
    pub fn tensor(&self, cx: &Context<'_>) -> Result<Tensor> {
        cx.tensor(&self.kept, (self.images, self.keep()))
    }

    /// Kept tokens (images, K, C) at their positions among all, (images, patches, C), and `filler` (C) at the
    /// others.
    pub fn fill(&self, cx: &Context<'_>, tokens: &Tensor, filler: &Tensor) -> Result<Tensor> {
        let (images, keep, width) = tokens.dims3()?;
        let filler = filler.reshape((1, width))?.cast(tokens.dtype())?;
        let table = Tensor::cat(&[&tokens.reshape((images * keep, width))?, &filler], 0)?;
        let rows = self.rows();
        let filled = table.index_select(&cx.tensor(&rows, rows.len())?, 0)?;
        filled.reshape((images, self.patches, width))
    }

    /// The mean of errors (images, patches) over all dropped patches of the batch.
    pub fn mean_of_dropped(&self, cx: &Context<'_>, errors: &Tensor) -> Result<Tensor> {
        let last = self.kept.len() as i64;
        let dropped: Vec<f32> =
            self.rows().into_iter().map(|row| f32::from(u8::from(row == last))).collect();
        let count = dropped.len() - self.kept.len();
        let dropped = cx.tensor(&dropped, (self.images, self.patches))?;
        errors.mul(&dropped)?.sum_all()?.scale(1.0 / count.max(1) as f64)
    }

    /// For every patch of every image its row among all kept tokens, or the row behind them.
    fn rows(&self) -> Vec<i64> {
        let mut rows = vec![self.kept.len() as i64; self.images * self.patches];
        let keep = self.keep().max(1);
        for (row, patch) in self.kept.iter().enumerate() {
            rows[row / keep * self.patches + *patch as usize] = row as i64;
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::Dropping;

    /// A fixed sequence (Steele et al., 2014: SplitMix64).
    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn every_image_keeps_exactly_so_many_and_every_patch_is_kept_equally_often() {
        let (images, patches, keep) = (8000, 16, 4);
        let dropping = Dropping::by_noise(&noise(1, images * patches), patches, keep);
        assert_eq!((dropping.images, dropping.keep()), (images, keep));
        let (mut counts, mut firsts) = ([0; 16], [0; 16]);
        for kept in dropping.kept.chunks(keep) {
            let mut seen = kept.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), keep, "{kept:?}");
            kept.iter().for_each(|patch| counts[*patch as usize] += 1);
            firsts[kept[0] as usize] += 1;
        }
        // 2000 times each, with a deviation of 39; 500 times first, with one of 22.
        assert!(counts.iter().all(|count| (1840..2160).contains(count)), "{counts:?}");
        assert!(firsts.iter().all(|count| (410..590).contains(count)), "{firsts:?}");
    }

    #[test]
    fn the_smallest_noise_is_kept_and_all_else_is_one_row() {
        let dropping = Dropping::by_noise(&[0.4, 0.1, 0.9, 0.3, 0.8, 0.7, 0.2, 0.6], 4, 2);
        assert_eq!(dropping.kept, [1, 3, 2, 3]);
        assert_eq!(dropping.rows(), [4, 0, 4, 1, 4, 4, 2, 3]);
    }
}
