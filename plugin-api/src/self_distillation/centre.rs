//! Centring: a moving average of the teacher's outputs keeps any one prototype from winning always.

use crate::component::End;
use crate::{Context, Init, Params, Result, Tensor};

/// The centre of one teacher projection, (1, K).
#[derive(Debug)]
pub struct Centre {
    value: Tensor,
    momentum: f64,
    /// Mean outputs of the batches since the last update.
    pending: Vec<Tensor>,
}

impl Centre {
    /// The buffer `name` of an end, which starts at 0; `momentum` is the share of it that is kept in a
    /// step.
    pub fn new(
        name: &str,
        end: &End,
        outputs: usize,
        momentum: f64,
        state: &Params<'_>,
    ) -> Result<Self> {
        let mut scope = state.pp(name);
        if let Some(pair) = &end.pair {
            scope = scope.pp(pair);
        }
        let value = scope.buffer(&end.branch, &[1, outputs], Init::ZEROS)?;
        Ok(Self { value, momentum, pending: Vec::new() })
    }

    /// (logits - c) / temperature, by the centre as it is before this batch.
    pub fn centred(&self, logits: &Tensor, temperature: f64) -> Result<Tensor> {
        logits.sub(&self.value)?.scale(1.0 / temperature)
    }

    /// Its Euclidean norm, a scalar.
    pub fn norm(&self) -> Result<Tensor> {
        self.value.mul(&self.value)?.sum(&[], false)?.sqrt()
    }

    /// Takes note of a batch's outputs (n, K).
    pub fn observe(&mut self, logits: &Tensor) -> Result<()> {
        self.observe_mean(logits.mean(&[0], true)?);
        Ok(())
    }

    /// Takes note of the mean (1, K) of a batch's outputs.
    pub fn observe_mean(&mut self, mean: Tensor) {
        self.pending.push(mean);
    }

    /// c <- m c + (1 - m) mean of what was observed, over all processes.
    pub fn update(&mut self, cx: &Context<'_>) -> Result<()> {
        let Some((first, rest)) = self.pending.split_first() else { return Ok(()) };
        let sum = rest.iter().try_fold(first.clone(), |sum, mean| sum.add(mean))?;
        let mean = cx.all_reduce_mean(&sum.scale(1.0 / self.pending.len() as f64)?)?;
        self.pending.clear();
        let kept = self.value.scale(self.momentum)?;
        cx.assign(&self.value, &kept.add(&mean.scale(1.0 - self.momentum)?)?)
    }
}
