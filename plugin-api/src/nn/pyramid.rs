//! Stages of blocks, each on a coarser map than the one before.

use crate::component::{Request, StageSpec};
use crate::nn::{Block, Blocks};
use crate::{Context, Result, Tensor};

/// The body of a hierarchical network: before each stage but the first, a downsampling `D` halves the
/// map's sides.
#[derive(Clone, Debug)]
pub struct Pyramid<D, B> {
    stages: Vec<(Option<D>, Blocks<B>)>,
}

/// What a pyramid makes of a map.
#[derive(Clone, Debug)]
pub struct PyramidOutput {
    /// The last stage's output.
    pub map: Tensor,
    /// Every stage's output, finest first, if they were asked for.
    pub stages: Vec<Tensor>,
    /// Outputs of the last [`Request::layers`] blocks, first to last, and whether the block is one of
    /// the last stage's, whose width and grid are the output's.
    pub layers: Vec<(Tensor, bool)>,
}

impl<D, B: Block> Pyramid<D, B> {
    /// A stage for each depth; `blocks(stage, block)` and `downsample(stage)` build the parts.
    pub fn new(
        depths: &[usize],
        downsample: impl Fn(usize) -> Result<D>,
        blocks: impl Fn(usize, usize) -> Result<B>,
    ) -> Result<Self> {
        let stage = |(i, depth): (usize, &usize)| {
            let downsample = (i > 0).then(|| downsample(i)).transpose()?;
            Ok((downsample, Blocks::new(*depth, |j| blocks(i, j))?))
        };
        Ok(Self { stages: depths.iter().enumerate().map(stage).collect::<Result<_>>()? })
    }

    /// Refuses stages that cannot be built; `name` is the network's in the message.
    pub fn check(name: &str, depths: &[usize], dims: &[usize]) -> Result<()> {
        if depths.is_empty() || depths.len() != dims.len() {
            refuse!(
                "{name}: depths {depths:?} and dims {dims:?}; expected one number per stage in both"
            );
        }
        if depths.contains(&0) || dims.contains(&0) {
            refuse!("{name}: depths {depths:?} and dims {dims:?}; expected numbers above 0");
        }
        Ok(())
    }

    /// Widths and strides for a first stage of stride `first`.
    pub fn stage_specs(first: usize, dims: &[usize]) -> Vec<StageSpec> {
        let spec = |(i, width): (usize, &usize)| StageSpec { stride: first << i, width: *width };
        dims.iter().enumerate().map(spec).collect()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.stages.iter().map(|(_, blocks)| blocks.len()).sum()
    }

    /// Sets the rates of stochastic depth, one per block.
    pub fn set_drop_path(&mut self, rates: &[f64]) {
        let mut rates = rates;
        for (_, blocks) in &mut self.stages {
            let (own, rest) = rates.split_at(blocks.len().min(rates.len()));
            blocks.set_drop_path(own);
            rates = rest;
        }
    }

    /// The first stage's input (B, H, W, C) through all stages.
    pub fn forward(
        &self,
        cx: &Context<'_>,
        x: &Tensor,
        request: &Request,
        downsample: impl Fn(&D, &Tensor) -> Result<Tensor>,
    ) -> Result<PyramidOutput> {
        let mut output = PyramidOutput { map: x.clone(), stages: Vec::new(), layers: Vec::new() };
        let mut to_come = self.blocks();
        for (i, (down, blocks)) in self.stages.iter().enumerate() {
            let x = match down {
                Some(down) => downsample(down, &output.map)?,
                None => output.map,
            };
            to_come -= blocks.len();
            let wanted = request.layers.saturating_sub(to_come);
            let (map, last) = blocks.forward_with_last(cx, &x, wanted)?;
            let is_last_stage = i + 1 == self.stages.len();
            output.layers.extend(last.into_iter().map(|x| (x, is_last_stage)));
            if request.stages {
                output.stages.push(map.clone());
            }
            output.map = map;
        }
        Ok(output)
    }
}
