//! Sharpening.

/// The teacher's temperature by epoch: constant, then linear, then constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeacherTemperature {
    /// At the start.
    pub first: f64,
    /// In the end.
    pub last: f64,
    /// Epochs at the first value before it begins to move.
    pub delay: usize,
    /// Epochs from the first value to the last one, both included.
    pub warmup: usize,
}

impl TeacherTemperature {
    /// In an epoch, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        let epoch = epoch.saturating_sub(self.delay);
        if epoch >= self.warmup {
            return self.last;
        }
        let share = if self.warmup > 1 { epoch as f64 / (self.warmup - 1) as f64 } else { 0.0 };
        self.first + share * (self.last - self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::TeacherTemperature;

    fn check(delay: usize, warmup: usize, expected: &[f64]) {
        let temperature = TeacherTemperature { first: 0.04, last: 0.07, delay, warmup };
        for (epoch, expected) in expected.iter().enumerate() {
            let found = temperature.at(epoch);
            assert!((found - expected).abs() < 1e-12, "epoch {epoch}: {found}, not {expected}");
        }
    }

    #[test]
    fn it_rises_once_a_warm_up_begins() {
        check(0, 0, &[0.07, 0.07]);
        check(0, 1, &[0.04, 0.07]);
        check(0, 4, &[0.04, 0.05, 0.06, 0.07, 0.07]);
        check(2, 4, &[0.04, 0.04, 0.04, 0.05, 0.06, 0.07, 0.07]);
    }
}
