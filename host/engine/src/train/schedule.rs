//! Per-step schedules (spec 1.8).

use std::f64::consts::PI;

use super::Rates;
use crate::config::RunConfig;

/// A half cosine after a linear warm-up, one value per optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    base: f64,
    last: f64,
    warmup: usize,
    total: usize,
}

impl Cosine {
    /// From `base` to `last` over `total` steps, of which the first `warmup` rise linearly from 0 to
    /// `base`, both ends included.
    pub fn new(base: f64, last: f64, total: usize, warmup: usize) -> Self {
        Self { base, last, warmup: warmup.min(total), total }
    }

    /// The value of a step; beyond the last one, the final value.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            let rise = (self.warmup - 1).max(1) as f64;
            return self.base * step as f64 / rise;
        }
        if step >= self.total {
            return self.last;
        }
        let progress = (step - self.warmup) as f64 / (self.total - self.warmup) as f64;
        self.last + 0.5 * (self.base - self.last) * (1.0 + (PI * progress).cos())
    }
}

/// Values that follow a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedules {
    lr: Cosine,
    weight_decay: Cosine,
    momentum_teacher: Cosine,
}

impl Schedules {
    /// The schedules of a configuration; the learning rate scales with images per step / 256.
    pub fn new(config: &RunConfig, steps_per_epoch: usize) -> Self {
        let train = &config.train;
        let total = train.epochs * steps_per_epoch;
        let warmup = train.warmup_epochs * steps_per_epoch;
        let images = (train.batch_size * train.accum_iter) as f64;
        Self {
            lr: Cosine::new(train.lr * images / 256.0, train.min_lr, total, warmup),
            weight_decay: Cosine::new(train.weight_decay, train.weight_decay_end, total, 0),
            momentum_teacher: Cosine::new(
                train.momentum_teacher,
                train.momentum_teacher_end,
                total,
                0,
            ),
        }
    }

    /// The values of an optimizer step.
    pub fn at(&self, step: usize) -> Rates {
        Rates {
            lr: self.lr.at(step),
            weight_decay: self.weight_decay.at(step),
            momentum_teacher: self.momentum_teacher.at(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: Cosine, expected: &[f64], tolerance: f64) {
        for (step, expected) in expected.iter().enumerate() {
            let found = schedule.at(step);
            assert!((found - expected).abs() < tolerance, "step {step}: {found}, not {expected}");
        }
    }

    #[test]
    fn golden_values() {
        let lr = [
            0.0, 1.66667e-4, 3.33333e-4, 5e-4, 5e-4, 4.81008e-4, 4.26923e-4, 3.4598e-4, 2.505e-4,
            1.5502e-4, 7.4077e-5, 1.9992e-5,
        ];
        check(Cosine::new(5e-4, 1e-6, 12, 4), &lr, 1e-9);
        let momentum = [0.996, 0.996268, 0.997, 0.998, 0.999, 0.999732];
        check(Cosine::new(0.996, 1.0, 6, 0), &momentum, 1e-6);
        let decay = [0.04, 0.064115, 0.13, 0.22, 0.31, 0.375885];
        check(Cosine::new(0.04, 0.4, 6, 0), &decay, 1e-6);
    }

    #[test]
    fn one_step_of_warm_up_starts_at_zero_and_the_end_holds() {
        let schedule = Cosine::new(1.0, 0.1, 3, 1);
        assert_eq!(schedule.at(0), 0.0);
        assert_eq!(schedule.at(1), 1.0);
        assert_eq!(schedule.at(99), 0.1);
    }
}
