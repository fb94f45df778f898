//! A mixture of the outputs of several blocks.

use hssl_plugin_api::component::{StepContext, Tokens};
use hssl_plugin_api::masked_autoencoding::Latent;
use hssl_plugin_api::nn::{Linear, LinearInit};
use hssl_plugin_api::{Error, Init, Params, Result, Tensor, refuse};

/// sum_i softmax(w)_i proj_i(x_i) over the chosen blocks i, then the base's final norm; the last one is taken
/// as it is.
#[derive(Debug)]
pub struct Fusion {
    layers: Vec<usize>,
    projections: Vec<Linear>,
    weights: Tensor,
    fused_heads: bool,
}

impl Fusion {
    /// Of these `blocks` in a base of `width` channels. Heads take the mixture, too, if `fused_heads`.
    pub fn new(
        layers: Vec<usize>,
        width: usize,
        fused_heads: bool,
        params: &Params<'_>,
    ) -> Result<Self> {
        let weight = LinearInit::XavierUniform.weight(width, width);
        let projection = |i: usize| {
            let scope = params.pp("proj_layers").pp(i);
            Linear::with_init(width, width, weight.clone(), Some(Init::ZEROS), &scope)
        };
        Ok(Self {
            projections: (1..layers.len()).map(|i| projection(i - 1)).collect::<Result<_>>()?,
            weights: params.get("proj_weights", &[layers.len()], Init::ONES)?,
            layers,
            fused_heads,
        })
    }

    /// Refuses anything but blocks of a base of `depth` blocks that end with the last one, without which some
    /// blocks would not be trained.
    pub fn check(layers: &[usize], depth: usize) -> Result<()> {
        let ascends = layers.windows(2).all(|pair| pair[0] < pair[1]);
        match layers.last() {
            Some(last) if ascends && last + 1 == depth => Ok(()),
            _ => refuse!(
                "mff: fuse_layers is {layers:?}; expected ascending numbers of blocks up to the last one, \
                 which is {} in this base",
                depth.saturating_sub(1)
            ),
        }
    }

    fn fuse(&self, tokens: &Tokens) -> Result<Tensor> {
        let weights = self.weights.softmax(0)?;
        let mut fused: Option<Tensor> = None;
        for (i, layer) in tokens.layers.iter().enumerate() {
            let projected = match self.projections.get(i) {
                Some(projection) => projection.forward(layer)?,
                None => layer.clone(),
            };
            let weighted = projected.mul(&weights.narrow(0, i, 1)?)?;
            fused = Some(match fused {
                Some(sum) => sum.add(&weighted)?,
                None => weighted,
            });
        }
        fused.ok_or_else(|| Error::refused("mff: the base returned no layers to fuse"))
    }
}

impl Latent for Fusion {
    fn layers(&self) -> &[usize] {
        &self.layers
    }

    fn latent(&self, cx: &StepContext<'_>, tokens: &Tokens) -> Result<Tensor> {
        cx.student().norm(&self.fuse(tokens)?)
    }

    fn head_input(&self, tokens: &Tokens) -> Result<Tensor> {
        if self.fused_heads { self.fuse(tokens) } else { Ok(tokens.pre_norm.clone()) }
    }
}
