//! Branches that are intermediate layers of the base.

use hssl_plugin_api::component::{Edge, Features, Request};
use hssl_tensor::{Array, DType, Tensor, mode, ops};

use super::Network;
use super::builder::Builder;
use super::norm::Norm;
use crate::error::{Error, Result};
use crate::plugin::{export, import};
use crate::supervision;

/// A block's output as a branch: the base's vector for the image, under a norm of its own.
pub(super) struct Layer {
    pub branch: String,
    /// The block, from 0.
    pub index: usize,
    pub width: usize,
    norm: Norm,
}

impl Layer {
    /// The layers that edges name. How wide they are is what the base says of one image.
    pub(super) fn all(
        builder: &mut Builder<'_>,
        network: &mut Network,
        edges: &[Edge],
        crop: usize,
    ) -> Result<Vec<Self>> {
        let named = supervision::layers(edges);
        let Some(first) = named.keys().next() else { return Ok(Vec::new()) };
        let blocks = network.spec.blocks;
        if let Some((_, branch)) = named.iter().find(|(index, _)| **index >= blocks) {
            return Err(Error::Composition(format!(
                "an edge of the supervision graph names {branch:?}, but the base has {blocks} blocks; \
                 expected base.layers.0 to base.layers.{}",
                blocks.saturating_sub(1)
            )));
        }
        let widths = widths(network, blocks - first, crop, builder)?;
        let layer = |(index, branch): (&usize, &String)| -> Result<Self> {
            builder.trained = supervision::trains(edges, branch);
            let width = widths[index - first];
            let norm = Norm::new(builder, &format!("{branch}.norm"), width)?;
            Ok(Self { branch: branch.clone(), index: *index, width, norm })
        };
        named.iter().map(layer).collect()
    }

    /// Of the image-level outputs of the last blocks, its own; a map of one position, for it has no other.
    pub(super) fn features(&self, outputs: &[Tensor], blocks: usize) -> Result<Features> {
        let place = (self.index + outputs.len()).checked_sub(blocks);
        let output = place.and_then(|place| outputs.get(place)).ok_or_else(|| {
            Error::Composition(format!("the base did not return its layer {}", self.index))
        })?;
        let image = self.norm.forward(output)?;
        let map = ops::reshape(&image, &[-1, 1, 1, self.width as i64])?;
        Ok(Features::new(export(&image), export(&map)))
    }
}

/// Widths of the last `count` blocks' outputs.
fn widths(
    network: &mut Network,
    count: usize,
    crop: usize,
    builder: &Builder<'_>,
) -> Result<Vec<usize>> {
    let image = Array::zeros((1, 3, crop, crop), DType::F32, builder.device());
    let image = Tensor::constant(image.map_err(hssl_tensor::Error::from)?);
    let request = Request { layers: count, layers_before_norm: true, ..Request::default() };
    let inference = mode::Mode { recording: false, training: false, ..mode::current() };
    let features = mode::scope(inference, || network.forward_base(&image, &request, None))?;
    let found: Vec<usize> =
        features.layers.iter().filter_map(|layer| import(layer).dims().last().copied()).collect();
    if found.len() != count {
        return Err(Error::Composition(format!(
            "the base returned {} intermediate layers where {count} were asked for",
            found.len()
        )));
    }
    Ok(found)
}
