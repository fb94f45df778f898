//! iBOT's masks: each crop draws its own ratio and, by it, blocks or single patches.

use hssl_plugin_api::component::Capability;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use super::block::block_mask;
use super::{Batch, Draws, Masking, Masks};

/// What is hidden together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PredShape {
    /// Rectangles of patches.
    Block,
    /// Single patches.
    Rand,
}

/// How iBOT masks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RandomMasks {
    /// Shares of an image's patches to hide; every global crop takes one of them at random.
    #[serde(default = "ratios")]
    pub pred_ratio: Vec<f64>,
    /// By how much each of them varies, up and down.
    #[serde(default = "variations")]
    pub pred_ratio_var: Vec<f64>,
    /// What is hidden together: `block` (rectangles) or `rand` (single patches).
    #[serde(default = "block")]
    pub pred_shape: PredShape,
}

fn ratios() -> Vec<f64> {
    vec![0.0, 0.3]
}
fn variations() -> Vec<f64> {
    vec![0.0, 0.2]
}
fn block() -> PredShape {
    PredShape::Block
}

/// Refuses a ratio whose variation leads out of [0, 1].
pub fn check_ratio(objective: &str, ratio: f64, variation: f64) -> Result<()> {
    if ratio - variation >= 0.0 && variation >= 0.0 && ratio + variation <= 1.0 {
        return Ok(());
    }
    refuse!(
        "{objective}: pred_ratio {ratio} with pred_ratio_var {variation}; expected a variation of 0 \
         or more and ratios from 0 to 1"
    );
}

impl RandomMasks {
    fn ratio(&self, draws: &mut Draws<'_>) -> Result<f64> {
        let chosen = draws.below(self.pred_ratio.len())?;
        let (ratio, variation) = (self.pred_ratio[chosen], self.pred_ratio_var[chosen]);
        draws.between(ratio - variation, ratio + variation)
    }

    fn mask(&self, draws: &mut Draws<'_>, grid: [usize; 2]) -> Result<Vec<u8>> {
        let ratio = self.ratio(draws)?;
        match self.pred_shape {
            PredShape::Block => block_mask(draws, grid, ratio),
            PredShape::Rand => {
                let mut mask = vec![0; grid[0] * grid[1]];
                let count = (ratio * mask.len() as f64) as usize;
                for patch in draws.sample((0..mask.len()).collect(), count)? {
                    mask[patch] = 1;
                }
                Ok(mask)
            }
        }
    }
}

impl Masking for RandomMasks {
    const OBJECTIVE: &'static str = "ibot";
    const NEEDS: &'static [Capability] = &[Capability::MaskReplace];

    fn check(&self) -> Result<()> {
        let (ratios, variations) = (self.pred_ratio.len(), self.pred_ratio_var.len());
        if ratios != variations || ratios == 0 {
            refuse!(
                "ibot: pred_ratio lists {ratios} ratios and pred_ratio_var {variations} variations; \
                 expected as many of both, and at least one"
            );
        }
        let mut candidates = self.pred_ratio.iter().zip(&self.pred_ratio_var);
        candidates.try_for_each(|(ratio, variation)| check_ratio("ibot", *ratio, *variation))
    }

    fn draw(&self, draws: &mut Draws<'_>, batch: &Batch) -> Result<Masks> {
        let masks = (0..batch.images).map(|_| self.mask(draws, batch.grid));
        Ok(Masks::new(batch.patches(), masks.collect::<Result<Vec<_>>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::draws::tests::draws;
    use super::*;

    fn shares(shape: PredShape, ratios: &[f64], variations: &[f64]) -> Vec<f64> {
        let masking = RandomMasks {
            pred_ratio: ratios.to_vec(),
            pred_ratio_var: variations.to_vec(),
            pred_shape: shape,
        };
        masking.check().unwrap();
        let mut draws = draws(6);
        let mask = |_| masking.mask(&mut draws, [14, 14]).unwrap();
        let masks = (0..4000).map(mask);
        masks.map(|mask| mask.iter().map(|m| f64::from(*m)).sum::<f64>() / 196.0).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn half_of_the_crops_are_whole_by_the_published_ratios() {
        for shape in [PredShape::Block, PredShape::Rand] {
            let (masked, whole): (Vec<f64>, Vec<f64>) =
                shares(shape, &[0.0, 0.3], &[0.0, 0.2]).into_iter().partition(|share| *share > 0.0);
            let empty = whole.len() as f64 / 4000.0;
            assert!((empty - 0.5).abs() < 0.03, "{empty} are whole");
            let (least, most) = if shape == PredShape::Rand { (0.09, 0.5) } else { (0.0, 0.5) };
            assert!(masked.iter().all(|share| (least..=most).contains(share)));
            // The ratios' mean is 0.3; patches are whole, and blocks end early.
            let nominal = if shape == PredShape::Rand { 0.29..0.305 } else { 0.25..0.3 };
            assert!(nominal.contains(&mean(&masked)), "{}", mean(&masked));
        }
    }

    #[test]
    fn single_patches_are_as_many_as_the_ratio_says() {
        assert!(shares(PredShape::Rand, &[0.3], &[0.0]).iter().all(|share| *share == 58.0 / 196.0));
        assert!(shares(PredShape::Rand, &[0.0], &[0.0]).iter().all(|share| *share == 0.0));
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let check = |pred_ratio: &[f64], pred_ratio_var: &[f64]| {
            let (pred_ratio, pred_ratio_var) = (pred_ratio.to_vec(), pred_ratio_var.to_vec());
            RandomMasks { pred_ratio, pred_ratio_var, pred_shape: PredShape::Block }.check()
        };
        assert!(check(&[0.3], &[0.2]).is_ok());
        for (ratios, variations) in
            [(&[0.0, 0.3][..], &[0.2][..]), (&[], &[]), (&[0.1], &[0.2]), (&[0.9], &[0.2])]
        {
            assert!(check(ratios, variations).is_err(), "{ratios:?} {variations:?}");
        }
    }
}
