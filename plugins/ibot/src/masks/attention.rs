//! AttMask's masks: what the teacher attends to is hidden, as what is hard, or as what is told.

use hssl_plugin_api::component::Capability;
use hssl_plugin_api::{Result, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

use super::random::check_ratio;
use super::{Batch, Draws, Masking, Masks};

/// Which patches are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attended {
    /// Those attended to most.
    High,
    /// Those attended to most, but for some of the very most, which are a hint.
    Hint,
    /// Those attended to least.
    Low,
}

/// How AttMask masks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct AttentionMasks {
    /// Share of the patches to hide, one for the whole batch.
    #[serde(default = "ratio")]
    pub pred_ratio: f64,
    /// By how much it varies from step to step, up and down.
    #[serde(default = "variation")]
    pub pred_ratio_var: f64,
    /// Which patches are hidden: `high` (most attended to), `low` (least), or `hint` (high, with a few
    /// of the most attended to left visible).
    #[serde(default = "hint")]
    pub pred_shape: Attended,
    /// Share of the crops that are masked at all.
    #[serde(default = "half")]
    pub masking_prob: f64,
    /// With `hint`: share of the patches, the most attended to, of which some are left visible.
    #[serde(default = "tenth")]
    pub show_max: f64,
}

fn ratio() -> f64 {
    0.3
}
fn variation() -> f64 {
    0.2
}
fn hint() -> Attended {
    Attended::Hint
}
fn half() -> f64 {
    0.5
}
fn tenth() -> f64 {
    0.1
}

impl AttentionMasks {
    fn ratio(&self, draws: &mut Draws<'_>) -> Result<f64> {
        let (ratio, variation) = (self.pred_ratio, self.pred_ratio_var);
        draws.between(ratio - variation, ratio + variation)
    }

    /// The mask of an image, by its attention; a hint is drawn by a ratio of its own.
    fn mask(
        &self,
        draws: &mut Draws<'_>,
        attention: &[f32],
        ratio: f64,
        hint_ratio: f64,
    ) -> Result<Vec<u8>> {
        let patches = attention.len();
        let share = |share: f64| (share * patches as f64) as usize;
        let mut order: Vec<usize> = (0..patches).collect();
        order.sort_by(|a, b| attention[*b].total_cmp(&attention[*a]));
        let mut mask = vec![0; patches];
        let count = share(ratio).min(patches);
        match self.pred_shape {
            Attended::Low => order[patches - count..].iter().for_each(|patch| mask[*patch] = 1),
            Attended::High | Attended::Hint => {
                order[..count].iter().for_each(|patch| mask[*patch] = 1);
            }
        }
        if self.pred_shape == Attended::Hint {
            order.truncate(share(self.show_max));
            for patch in draws.sample(order, share(self.show_max * hint_ratio))? {
                mask[patch] = 0;
            }
        }
        Ok(mask)
    }
}

impl Masking for AttentionMasks {
    const OBJECTIVE: &'static str = "attmask";
    const NEEDS: &'static [Capability] =
        &[Capability::MaskReplace, Capability::Attention, Capability::ClassToken];

    fn check(&self) -> Result<()> {
        check_ratio("attmask", self.pred_ratio, self.pred_ratio_var)?;
        for (key, value) in [("masking_prob", self.masking_prob), ("show_max", self.show_max)] {
            if !(0.0..=1.0).contains(&value) {
                refuse!("attmask: {key} is {value}; expected 0 to 1");
            }
        }
        Ok(())
    }

    fn draw(&self, draws: &mut Draws<'_>, batch: &Batch) -> Result<Masks> {
        let patches = batch.patches();
        let (ratio, hint_ratio) = (self.ratio(draws)?, self.ratio(draws)?);
        let mask = |attention: &[f32]| {
            if draws.unit()? < self.masking_prob {
                self.mask(draws, attention, ratio, hint_ratio)
            } else {
                Ok(vec![0; patches])
            }
        };
        let masks: Result<Vec<_>> = batch.attention.chunks(patches.max(1)).map(mask).collect();
        Ok(Masks::new(patches, masks?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::draws::tests::draws;
    use super::*;

    fn masking(shape: Attended) -> AttentionMasks {
        AttentionMasks {
            pred_ratio: 0.3,
            pred_ratio_var: 0.2,
            pred_shape: shape,
            masking_prob: 0.5,
            show_max: 0.1,
        }
    }

    /// Attention to 196 patches, the most to patch 0, the least to patch 195, in another order.
    fn attention() -> Vec<f32> {
        (0..196).map(|i| 1.0 - (i * 19 % 196) as f32 / 196.0).collect()
    }

    /// Ranks, from the most attended to, of the hidden patches.
    fn ranks(mask: &[u8]) -> Vec<usize> {
        let mut ranks: Vec<usize> =
            (0..196).filter(|i| mask[*i] == 1).map(|i| i * 19 % 196).collect();
        ranks.sort_unstable();
        ranks
    }

    #[test]
    fn the_most_or_the_least_attended_are_hidden() {
        let mask = |shape| masking(shape).mask(&mut draws(7), &attention(), 0.3, 0.3).unwrap();
        assert_eq!(ranks(&mask(Attended::High)), (0..58).collect::<Vec<_>>());
        assert_eq!(ranks(&mask(Attended::Low)), (138..196).collect::<Vec<_>>());
    }

    #[test]
    fn a_hint_leaves_five_of_the_nineteen_most_attended_visible() {
        let (mut draws, mut shown) = (draws(8), [0; 19]);
        for _ in 0..2000 {
            let masking = masking(Attended::Hint);
            let ranks = ranks(&masking.mask(&mut draws, &attention(), 0.3, 0.3).unwrap());
            assert_eq!(ranks.len(), 53);
            assert!(ranks.iter().filter(|rank| **rank >= 19).eq(&(19..58).collect::<Vec<_>>()));
            (0..19).filter(|rank| !ranks.contains(rank)).for_each(|rank| shown[rank] += 1);
        }
        // 5 of 19, 2000 times: 526 each.
        assert!(shown.iter().all(|times| (440..610).contains(times)), "{shown:?}");
    }

    #[test]
    fn what_was_not_hidden_cannot_be_revealed() {
        let masking = AttentionMasks { show_max: 1.0, ..masking(Attended::Hint) };
        let mask = masking.mask(&mut draws(9), &attention(), 0.1, 0.5).unwrap();
        assert!(ranks(&mask).len() < 19 && ranks(&mask).iter().all(|rank| *rank < 19));
    }

    #[test]
    fn a_batch_has_one_ratio_and_half_of_its_crops_are_masked() {
        let batch =
            |images| Batch { images, grid: [14, 14], attention: attention().repeat(images) };
        let (mut draws, mut ratios) = (draws(10), Vec::new());
        let mut masked = 0;
        for _ in 0..200 {
            let masks = masking(Attended::High).draw(&mut draws, &batch(16)).unwrap();
            let mut counts: Vec<usize> = masks
                .hidden
                .chunks(196)
                .map(|mask| ranks(mask).len())
                .filter(|count| *count > 0)
                .collect();
            masked += counts.len();
            counts.dedup();
            assert!(counts.len() <= 1, "{counts:?}");
            ratios.extend(counts.first().map(|count| *count as f64 / 196.0));
        }
        let share = f64::from(masked as u32) / 3200.0;
        assert!((share - 0.5).abs() < 0.05, "{share}");
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean - 0.3).abs() < 0.03, "{mean}");
        assert!(ratios.iter().all(|ratio| (0.09..0.5).contains(ratio)));
    }
}
