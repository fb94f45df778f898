//! LARS (You, Gitman and Ginsburg, 2017), as self-supervised linear probes use it.

use super::clip::norm;
use super::fused::{Job, Moved};
use super::state::State;
use super::{Group, Optimizer, Step, group};
use crate::{Array, Result};

/// Layer-wise adaptive SGD. For tensors with two or more dimensions g <- g + wd p, then
/// g <- g trust ||p|| / ||g|| (unchanged if either norm is 0); for all u <- momentum u + g;
/// p <- p - lr u. Biases and other tensors of one dimension have neither decay nor scaling.
#[derive(Debug)]
pub struct Lars {
    groups: Vec<Group>,
    momentum: f64,
    trust: f64,
    state: State<1>,
}

impl Lars {
    /// Momentum 0.9, trust coefficient 0.001.
    ///
    /// # Errors
    /// Two parameters have one name, or one occurs twice.
    pub fn new(groups: Vec<Group>) -> Result<Self> {
        Self::with(groups, 0.9, 0.001)
    }

    /// With another momentum and trust coefficient.
    ///
    /// # Errors
    /// As [`Lars::new`].
    pub fn with(groups: Vec<Group>, momentum: f64, trust: f64) -> Result<Self> {
        group::validate(&groups)?;
        Ok(Self { groups, momentum, trust, state: State::new(["mu"]) })
    }
}

impl Optimizer for Lars {
    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    fn update(&mut self, step: &Step<'_>) -> Result<()> {
        let (momentum, trust) = (self.momentum, self.trust);
        self.state.step(&self.groups, step, |group, job, entry| {
            let [value, gradient] = job.operands()?;
            let adapts = value.rank() >= 2;
            let decay = if adapts { group.weight_decay } else { 0.0 };
            let decayed = if decay == 0.0 {
                gradient
            } else {
                let decay = crate::ops::array::scaled(&value, decay, 0.0)?;
                crate::ops::array::sum(&gradient, &decay)?
            };
            let scale = if adapts {
                let (weight, update) = (norm(&value)?, norm(&decayed)?);
                if weight > 0.0 && update > 0.0 { trust * weight / update } else { 1.0 }
            } else {
                1.0
            };
            match entry.fused() {
                Some([buffer]) => {
                    let [rate, scale, momentum] = [group.rate(), scale, momentum].map(|x| x as f32);
                    let teacher = job.teacher.clone();
                    let job = Job { value, gradient: &decayed, factor: 1.0, teacher };
                    job.update(
                        [buffer],
                        #[inline(always)]
                        |new, old, gradient, [buffer]| {
                            let inputs = old.iter().zip(gradient);
                            for ((new, u), (p, g)) in new.iter_mut().zip(buffer).zip(inputs) {
                                *u = momentum * *u + scale * g;
                                *new = p - rate * *u;
                            }
                        },
                    )
                }
                None => {
                    let [buffer] = entry.arrays(&value)?;
                    let buffer = ((buffer * momentum)? + (decayed * scale)?)?;
                    let new = (value - (&buffer * group.rate())?)?;
                    entry.set_arrays([buffer]);
                    Ok(Moved::alone(new))
                }
            }
        })
    }

    fn state(&self) -> Result<Vec<(String, Array)>> {
        self.state.export(&self.groups)
    }

    fn load_state(&mut self, state: &[(String, Array)]) -> Result<()> {
        self.state.import(&self.groups, state)
    }
}
