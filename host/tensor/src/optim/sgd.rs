//! Stochastic gradient descent with momentum.

use super::state::State;
use super::{Group, Optimizer, fused, group};
use crate::{Array, Gradients, Result};

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

    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        let (momentum, nesterov) = (self.momentum, self.nesterov);
        self.state.step(&self.groups, gradients, |group, value, gradient, entry| {
            let (rate, decay) = (group.rate(), group.weight_decay);
            match entry.fused() {
                Some([buffer]) => {
                    let [rate, decay, momentum] = [rate, decay, momentum].map(|x| x as f32);
                    fused::update(
                        value,
                        gradient,
                        [buffer],
                        #[inline(always)]
                        |new, old, gradient, [buffer]| {
                            let inputs = old.iter().zip(gradient);
                            for ((new, u), (p, g)) in new.iter_mut().zip(buffer).zip(inputs) {
                                let g = g + decay * p;
                                *u = momentum * *u + g;
                                let step = if nesterov { g + momentum * *u } else { *u };
                                *new = p - rate * step;
                            }
                        },
                    )
                }
                None => {
                    let dtype = fused::working_type(value.dtype());
                    let (value, gradient) = (value.to_dtype(dtype)?, gradient.to_dtype(dtype)?);
                    let [buffer] = entry.arrays(&value)?;
                    let gradient = (gradient + (&value * decay)?)?;
                    let buffer = ((buffer * momentum)? + &gradient)?;
                    let step =
                        if nesterov { (gradient + (&buffer * momentum)?)? } else { buffer.clone() };
                    entry.set_arrays([buffer]);
                    Ok((value - (step * rate)?)?)
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
