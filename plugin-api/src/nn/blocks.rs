//! Residual blocks in a row.

use std::sync::Arc;

use crate::{Context, Result, Tensor};

/// A residual block: its output has the shape of its input.
pub trait Block: Clone + Send + Sync + 'static {
    /// Sets the rate of stochastic depth.
    fn set_drop_path(&mut self, rate: f64);

    /// A map (B, H, W, C), or tokens (B, N, C), to the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

/// Blocks in a row, each of which the host may run again for its gradient ([`Context::block`]).
#[derive(Clone, Debug)]
pub struct Blocks<B>(Vec<Arc<B>>);

impl<B: Block> Blocks<B> {
    /// `make` builds block 0, 1, ...
    pub fn new(count: usize, make: impl FnMut(usize) -> Result<B>) -> Result<Self> {
        let mut make = make;
        Ok(Self((0..count).map(|i| make(i).map(Arc::new)).collect::<Result<_>>()?))
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the rates of stochastic depth, one per block.
    pub fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.0.iter_mut().zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    /// One block after the other.
    pub fn forward(&self, cx: &Context<'_>, x: &Tensor) -> Result<Tensor> {
        Ok(self.forward_with_last(cx, x, 0)?.0)
    }

    /// The output, and beside it those of the last `count` blocks, first to last.
    pub fn forward_with_last(
        &self,
        cx: &Context<'_>,
        x: &Tensor,
        count: usize,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (mut x, mut last) = (x.clone(), Vec::new());
        for (i, block) in self.0.iter().enumerate() {
            let block = Arc::clone(block);
            x = cx.block(&x, move |x| block.forward(x))?;
            if i + count >= self.len() {
                last.push(x.clone());
            }
        }
        Ok((x, last))
    }
}
