//! The model, top to bottom.

use std::sync::Arc;

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request,
};
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};

use crate::block::{Block, BlockConfig, ConvNorm};
use crate::config::{Config, Sizes, Stem};

/// Stem, four stages of residual blocks; there is no norm after the last one.
pub struct ResNet {
    sizes: Sizes,
    stem: ConvNorm,
    stages: [Vec<Arc<Block>>; 4],
}

impl ResNet {
    /// Images (B, 3, H, W) to a map (B, h, w, C).
    fn embed(&self, cx: &Context<'_>, images: &Tensor, training: bool) -> Result<Tensor> {
        let (_, channels, height, width) = images.dims4()?;
        if channels != 3 || height == 0 || width == 0 {
            refuse!(
                "resnet: images of {channels} x {height} x {width}; expected 3 channels and at least \
                 one pixel"
            );
        }
        let x = self.stem.forward(cx, &images.permute(&[0, 2, 3, 1])?, training)?.relu()?;
        match self.sizes.stem {
            Stem::ImageNet => x.max_pool2d([3; 2], [2; 2], [1; 2]),
            Stem::Cifar => Ok(x),
        }
    }

    fn blocks(&self) -> usize {
        self.sizes.depths.iter().sum()
    }
}

impl Backbone for ResNet {
    type Config = Config;

    fn new(config: Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let (kernel, stride) = match sizes.stem {
            Stem::ImageNet => (7, 2),
            Stem::Cifar => (3, 1),
        };
        let scopes = [&params.pp("conv1"), &params.pp("bn1")];
        let stem = ConvNorm::new([3, sizes.widths[0]], kernel, stride, Init::ONES, scopes)?;
        let mut inputs = sizes.widths[0];
        let mut stages = [const { Vec::new() }; 4];
        for (i, stage) in stages.iter_mut().enumerate() {
            let scope = params.pp(format!("layer{}", i + 1));
            for j in 0..sizes.depths[i] {
                let block = BlockConfig {
                    kind: sizes.block,
                    inputs,
                    hidden: sizes.widths[i],
                    outputs: sizes.widths[i] * sizes.block.expansion(),
                    kernel: 3,
                    stride: if i > 0 && j == 0 { 2 } else { 1 },
                    shortcut: true,
                    zero_init_last: config.zero_init_last,
                };
                stage.push(Arc::new(Block::new(&block, &scope.pp(j))?));
                inputs = block.outputs;
            }
        }
        Ok(Self { sizes, stem, stages })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::AnySize, Capability::Layers, Capability::Stages]
    }

    fn spec(&self) -> BackboneSpec {
        let stages = self.sizes.stages();
        BackboneSpec {
            width: stages[3].width,
            blocks: self.blocks(),
            stages: stages.to_vec(),
            image_size: self.sizes.stem.image_size(),
        }
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        for (block, rate) in self.stages.iter_mut().flatten().zip(rates) {
            Arc::make_mut(block).set_drop_path(*rate);
        }
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let mut x = self.embed(cx, images, request.training)?;
        let (mut layers, mut stages) = (Vec::new(), Vec::new());
        let mut left = self.blocks();
        for stage in &self.stages {
            for block in stage {
                x = block.forward(cx, &x, request.training)?;
                if left <= request.layers {
                    layers.push(x.mean(&[1, 2], false)?);
                }
                left -= 1;
            }
            if request.stages {
                stages.push(x.clone());
            }
        }
        Ok(Features { layers, stages, ..Features::new(x.mean(&[1, 2], false)?, x) })
    }
}
