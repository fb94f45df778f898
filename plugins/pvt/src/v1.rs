//! PVT, top to bottom.

use hssl_plugin_api::component::{
    Backbone, BackboneSetup, BackboneSpec, Capability, Features, Request,
};
use hssl_plugin_api::nn::LayerNorm;
use hssl_plugin_api::{Context, Init, Params, Result, Tensor, refuse};

use crate::block::{BlockConfig, Blocks, BlocksOutput, NORM_EPS};
use crate::config::{Arch, Config, STAGES, Sizes};
use crate::embed::{ConvInit, PatchEmbed};
use crate::mlp::MlpKind;
use crate::positions;

/// Four stages of patch embedding, positions and blocks, a class token in the last one, and a norm.
pub struct PyramidVisionTransformer {
    sizes: Sizes,
    stages: Vec<Stage>,
    cls_token: Tensor,
    norm: LayerNorm,
}

struct Stage {
    patch_embed: PatchEmbed,
    pos_embed: Tensor,
    blocks: Blocks,
}

/// The last stage, which has the class token before its positions.
const LAST: usize = STAGES - 1;

impl PyramidVisionTransformer {
    fn stage(sizes: &Sizes, i: usize, params: &Params<'_>) -> Result<Stage> {
        let (stage, number) = (&sizes.stages[i], i + 1);
        let (inputs, patch) = match i.checked_sub(1).map(|before| &sizes.stages[before]) {
            Some(before) => (before.width, stage.stride / before.stride),
            None => (3, stage.stride),
        };
        let tokens = sizes.grid(i).pow(2) + usize::from(i == LAST);
        let shape = [1, tokens, stage.width];
        let embed = params.pp(format!("patch_embed{number}"));
        let block = |_| BlockConfig::of_stage(stage, MlpKind::Plain, ConvInit::FanIn);
        let blocks = params.pp(format!("block{number}"));
        Ok(Stage {
            patch_embed: PatchEmbed::tiles(inputs, stage.width, patch, &embed)?,
            pos_embed: params.get(&format!("pos_embed{number}"), &shape, Init::TRUNC_002)?,
            blocks: Blocks::new(stage.depth, block, &blocks)?,
        })
    }

    /// A map (B, H, W, I) through a stage: its tokens (B, N, C) and their grid. The image-level vectors of
    /// the blocks that were asked for go to `layers`.
    fn run(
        &self,
        cx: &Context<'_>,
        i: usize,
        map: &Tensor,
        request: &Request,
        layers: &mut Vec<Tensor>,
    ) -> Result<(BlocksOutput, [usize; 2])> {
        let (stage, last) = (&self.stages[i], i == LAST);
        let embedded = stage.patch_embed.forward(map)?;
        let (b, rows, columns, c) = embedded.dims4()?;
        let (mut x, grid) = (embedded.flatten(1, 2)?, [rows, columns]);
        if last {
            x = Tensor::cat(&[&self.cls_token.broadcast_to((b, 1, c))?, &x], 1)?;
        }
        x = x.add(&positions::for_grid(&stage.pos_embed, self.sizes.grid(i), grid, last)?)?;
        let wanted = self.sizes.layers_in(i, request.layers);
        let out = stage.blocks.forward(cx, &x, grid, wanted, request.attention && last)?;
        for layer in &out.layers {
            layers.push(self.image_vector(i, layer, request)?);
        }
        Ok((out, grid))
    }

    /// What stands for the images in a block's output (B, N, C): the class token after the final norm in
    /// the last stage, the mean over positions before.
    fn image_vector(&self, stage: usize, x: &Tensor, request: &Request) -> Result<Tensor> {
        if stage < LAST {
            return x.mean(&[1], false);
        }
        request.layer(&x.index(1, 0)?, |class| self.norm.forward(class))
    }
}

impl Backbone for PyramidVisionTransformer {
    type Config = Config<Arch>;

    fn new(config: Self::Config, _: &BackboneSetup, params: &Params<'_>) -> Result<Self> {
        let sizes = Sizes::new(&config)?;
        let width = sizes.last().width;
        let stages = (0..STAGES).map(|i| Self::stage(&sizes, i, params)).collect::<Result<_>>()?;
        Ok(Self {
            sizes,
            stages,
            cls_token: params.get("cls_token", &[1, 1, width], Init::TRUNC_002)?,
            norm: LayerNorm::new(width, NORM_EPS, &params.pp("norm"))?,
        })
    }

    fn capabilities() -> Vec<Capability> {
        vec![
            Capability::Attention,
            Capability::AnySize,
            Capability::ClassToken,
            Capability::Layers,
            Capability::Stages,
        ]
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

    fn adapt_weight(&self, name: &str, weight: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
        let number = name.strip_prefix("pos_embed").and_then(|number| number.parse::<usize>().ok());
        let Some(i) = number.and_then(|number| number.checked_sub(1)).filter(|i| *i < STAGES)
        else {
            return Ok(None);
        };
        let (one, tokens, width) = weight.dims3()?;
        let positions = tokens.saturating_sub(usize::from(i == LAST));
        let side = positions.isqrt();
        if one != 1 || width != self.sizes.stages[i].width || side * side != positions || side == 0
        {
            return Ok(None);
        }
        let grid = self.sizes.grid(i);
        let fitted = positions::for_grid(weight, side, [grid; 2], i == LAST)?;
        Ok((fitted.dims() == shape).then_some(fitted))
    }

    fn forward(&self, cx: &Context<'_>, images: &Tensor, request: &Request) -> Result<Features> {
        let (b, channels, height, width) = images.dims4()?;
        let stride = self.sizes.last().stride;
        if channels != 3 || !height.is_multiple_of(stride) || !width.is_multiple_of(stride) {
            refuse!(
                "pvt: images of {channels} x {height} x {width}; expected 3 channels and sides that are \
                 multiples of 8 x patch_size = {stride}"
            );
        }
        let mut map = images.permute(&[0, 2, 3, 1])?;
        let (mut stages, mut layers) = (Vec::new(), Vec::new());
        for i in 0..LAST {
            let (out, [rows, columns]) = self.run(cx, i, &map, request, &mut layers)?;
            map = out.x.reshape((b, rows, columns, self.sizes.stages[i].width))?;
            stages.push(map.clone());
        }
        let (out, [rows, columns]) = self.run(cx, LAST, &map, request, &mut layers)?;

        let map_of = |x: &Tensor| {
            x.narrow(1, 1, rows * columns)?.reshape((b, rows, columns, self.sizes.last().width))
        };
        let normed = self.norm.forward(&out.x)?;
        let map = map_of(&normed)?;
        stages.push(map.clone());
        Ok(Features {
            image: normed.index(1, 0)?,
            map,
            pre_norm: Some(map_of(&out.x)?),
            attention: out.attention,
            layers,
            stages: if request.stages { stages } else { Vec::new() },
        })
    }
}
