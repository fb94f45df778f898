//! Stochastic gradient descent with momentum.

use super::fused::Moved;
use super::state::State;
use super::{Group, Optimizer, Step, group};
use crate::{Array, Result};

/// SGD as `torch.optim.SGD` without dampening: g <- g + wd p; u <- momentum u + g;
/// p <- p - lr u, or with Nesterov's momentum p <- p - lr (g + momentum u).
#[derive(Debug)]
pub struct Sgd {
    groups: Vec<Group>,
    momentum: f64,
    nesterov: bool,
    state: State<1>,
}

impl Sgd {
    /// A `momentum` of 0 is plain gradient descent.
    ///
    /// # Errors
    /// Two parameters have one name, or one occurs twice.
    pub fn new(groups: Vec<Group>, momentum: f64, nesterov: bool) -> Result<Self> {
        group::validate(&groups)?;
        Ok(Self { groups, momentum, nesterov, state: State::new(["momentum_buffer"]) })
    }
}

impl Optimizer for Sgd {
    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    fn update(&mut self, step: &Step<'_>) -> Result<()> {
        let (momentum, nesterov) = (self.momentum, self.nesterov);
        self.state.step(&self.groups, step, |group, job, entry| {
            let (rate, decay) = (group.rate(), group.weight_decay);
            match entry.fused() {
                Some([buffer]) => {
                    let [rate, decay, momentum, clip] =
                        [rate, decay, momentum, job.factor].map(|x| x as f32);
                    job.update(
                        [buffer],
                        #[inline(always)]
                        |new, old, gradient, [buffer]| {
                            let inputs = old.iter().zip(gradient);
                            for ((new, u), (p, g)) in new.iter_mut().zip(buffer).zip(inputs) {
                                let g = g * clip + decay * p;
                                *u = momentum * *u + g;
                                let step = if nesterov { g + momentum * *u } else { *u };
                                *new = p - rate * step;
                            }
                        },
                    )
                }
                None => {
                    let [value, gradient] = job.operands()?;
                    let [buffer] = entry.arrays(&value)?;
                    let gradient = (gradient + (&value * decay)?)?;
                    let buffer = ((buffer * momentum)? + &gradient)?;
                    let step =
                        if nesterov { (gradient + (&buffer * momentum)?)? } else { buffer.clone() };
                    entry.set_arrays([buffer]);
                    Ok(Moved::alone((value - (step * rate)?)?))
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
