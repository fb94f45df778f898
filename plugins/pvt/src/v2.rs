//! PVT v2, top to bottom.

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request,
};
use hssl_plugin_api::nn::LayerNorm;
use hssl_plugin_api::{Context, Params, Result, Tensor, refuse};

use crate::block::{BlockConfig, Blocks, NORM_EPS};
use crate::config::{ArchV2, Config, STAGES, Sizes};
use crate::embed::{ConvInit, PatchEmbed};
use crate::mlp::MlpKind;

/// Four stages of overlapping patch embedding, blocks and norm.
pub struct PyramidVisionTransformerV2 {
    sizes: Sizes,
    stages: Vec<Stage>,
}

struct Stage {
    patch_embed: PatchEmbed,
    blocks: Blocks,
    norm: LayerNorm,
}

impl PyramidVisionTransformerV2 {
    fn stage(sizes: &Sizes, i: usize, params: &Params<'_>) -> Result<Stage> {
        let (stage, scope) = (&sizes.stages[i], params.pp("stages").pp(i));
        let patch_embed = match i.checked_sub(1).map(|before| &sizes.stages[before]) {
            Some(before) => {
                let stride = stage.stride / before.stride;
                let params = scope.pp("downsample");
                PatchEmbed::overlapping(before.width, stage.width, stride, &params)?
            }
            None => {
                PatchEmbed::overlapping(3, stage.width, stage.stride, &params.pp("patch_embed"))?
            }
        };
        let block = |_| BlockConfig::of_stage(stage, MlpKind::Convolutional, ConvInit::FanOut);
        Ok(Stage {
            patch_embed,
            blocks: Blocks::new(stage.depth, block, &scope.pp("blocks"))?,
            norm: LayerNorm::new(stage.width, NORM_EPS, &scope.pp("norm"))?,
        })
    }
}

impl Backbone for PyramidVisionTransformerV2 {
    type Config = Config<ArchV2>;

    fn new(config: Self::Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let stages = (0..STAGES).map(|i| Self::stage(&sizes, i, params)).collect::<Result<_>>()?;
        Ok(Self { sizes, stages })
    }

    fn capabilities() -> Vec<Capability> {
        vec![Capability::Attention, Capability::AnySize, Capability::Layers, Capability::Stages]
    }

    fn spec(&self) -> BackboneSpec {
        self.sizes.spec()
    }

    fn set_drop_path(&mut self, rates: &[f64]) {
        let mut rates = rates.iter();
        for stage in &mut self.stages {
            stage.blocks.set_drop_path(&mut rates);
        }
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let channels = images.dims4()?.1;
        if channels != 3 {
            refuse!("pvt_v2: images of {channels} channels; expected 3");
        }
        let (mut map, mut pre_norm) = (images.permute(&[0, 2, 3, 1])?, None);
        let (mut stages, mut layers, mut attention) = (Vec::new(), Vec::new(), None);
        for (i, stage) in self.stages.iter().enumerate() {
            let embedded = stage.patch_embed.forward(&map)?;
            let (b, rows, columns, c) = embedded.dims4()?;
            let x = embedded.flatten(1, 2)?;
            let wanted = self.sizes.layers_in(i, request.layers);
            let with_attention = request.attention && i + 1 == STAGES;
            let out = stage.blocks.forward(cx, &x, [rows, columns], wanted, with_attention)?;
            for layer in &out.layers {
                let layer = request.layer(layer, |x| stage.norm.forward(x))?;
                layers.push(layer.mean(&[1], false)?);
            }
            let raw = out.x.reshape((b, rows, columns, c))?;
            map = stage.norm.forward(&raw)?;
            stages.push(map.clone());
            (pre_norm, attention) = (Some(raw), out.attention);
        }
        Ok(Features {
            image: map.mean(&[1, 2], false)?,
            map,
            pre_norm,
            attention,
            layers,
            stages: if request.stages { stages } else { Vec::new() },
        })
    }
}
