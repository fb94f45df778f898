//! AdamW (Loshchilov and Hutter, 2019).

use super::cuda;
use super::fused::{Job, Moved};
use super::state::{Entry, State};
use super::{Group, Optimizer, Step, group};
use crate::{Array, Result};

/// Adam with decoupled weight decay, as `torch.optim.AdamW`:
/// p <- p (1 - lr wd); m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
/// p <- p - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps).
#[derive(Debug)]
pub struct AdamW {
    groups: Vec<Group>,
    betas: (f64, f64),
    eps: f64,
    state: State<2>,
}

impl AdamW {
    /// betas (0.9, 0.999), eps 1e-8.
    ///
    /// # Errors
    /// Two parameters have one name, or one occurs twice.
    pub fn new(groups: Vec<Group>) -> Result<Self> {
        Self::with(groups, (0.9, 0.999), 1e-8)
    }

    /// With other moments' decays and eps.
    ///
    /// # Errors
    /// As [`AdamW::new`].
    pub fn with(groups: Vec<Group>, betas: (f64, f64), eps: f64) -> Result<Self> {
        group::validate(&groups)?;
        Ok(Self { groups, betas, eps, state: State::new(["exp_avg", "exp_avg_sq"]) })
    }
}

/// The numbers of one parameter's step.
pub(super) struct Factors {
    /// 1 - lr wd
    pub keep: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// lr / (1 - b1^t)
    pub rate: f64,
    /// sqrt(1 - b2^t)
    pub correction: f64,
    pub eps: f64,
}

impl Optimizer for AdamW {
    fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    fn update(&mut self, step: &Step<'_>) -> Result<()> {
        let ((beta1, beta2), eps) = (self.betas, self.eps);
        let updates = cuda::Updates::new(self.betas, self.eps);
        self.state.step(&self.groups, step, |group, job, entry| {
            let time = entry.step as f64;
            let factors = Factors {
                keep: 1.0 - group.rate() * group.weight_decay,
                beta1,
                beta2,
                rate: group.rate() / (1.0 - beta1.powf(time)),
                correction: (1.0 - beta2.powf(time)).sqrt(),
                eps,
            };
            match entry.fused() {
                Some(slots) => kernel(job, slots, &factors),
                None if cuda::takes(&job.value) => {
                    let moments = entry.arrays(&job.value)?;
                    let (moved, moments) = updates.add(job, &moments, &factors)?;
                    entry.set_arrays(moments);
                    Ok(moved)
                }
                None => portable(job, entry, &factors),
            }
        })?;
        updates.launch()
    }

    fn state(&self) -> Result<Vec<(String, Array)>> {
        self.state.export(&self.groups)
    }

    fn load_state(&mut self, state: &[(String, Array)]) -> Result<()> {
        self.state.import(&self.groups, state)
    }
}

fn kernel(job: &Job<'_>, slots: [&mut [f32]; 2], factors: &Factors) -> Result<Moved> {
    let (keep, rate) = (factors.keep as f32, factors.rate as f32);
    let (new1, beta2, new2) =
        ((1.0 - factors.beta1) as f32, factors.beta2 as f32, (1.0 - factors.beta2) as f32);
    let (correction, eps) = (factors.correction as f32, factors.eps as f32);
    let clip = job.factor as f32;
    job.update(
        slots,
        #[inline(always)]
        |new, old, gradient, [first, second]| {
            let moments = first.iter_mut().zip(second);
            for (((new, old), g), (m, v)) in new.iter_mut().zip(old).zip(gradient).zip(moments) {
                let g = g * clip;
                *m += (g - *m) * new1;
                *v = *v * beta2 + g * g * new2;
                *new = old * keep - rate * (*m / (v.sqrt() / correction + eps));
            }
        },
    )
}

fn portable(job: &Job<'_>, entry: &mut Entry<2>, factors: &Factors) -> Result<Moved> {
    let [value, gradient] = job.operands()?;
    let [first, second] = entry.arrays(&value)?;
    let first = ((first * factors.beta1)? + (&gradient * (1.0 - factors.beta1))?)?;
    let second = ((second * factors.beta2)? + (gradient.sqr()? * (1.0 - factors.beta2))?)?;
    let scale = second.sqrt()?.affine(1.0 / factors.correction, factors.eps)?;
    let new = ((value * factors.keep)? - ((&first / scale)? * factors.rate)?)?;
    entry.set_arrays([first, second]);
    Ok(Moved::alone(new))
}
