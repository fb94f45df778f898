//! Pyramid Vision Transformers: four stages of attention whose keys and values lie on a coarser grid.
//!
//! `pvt` (Wang et al., 2021) has patches that tile the map, learned positions, and a class token in its
//! last stage; its parameters carry the names of the authors' program. `pvt_v2` (Wang et al., 2022) has
//! overlapping patches and a depthwise convolution in the MLP instead of positions; its parameters carry
//! timm's names.

mod attention;
mod block;
mod config;
mod embed;
mod head;
mod mlp;
mod positions;
mod v1;
mod v2;

use head::PvtHead;
use v1::PyramidVisionTransformer;
use v2::PyramidVisionTransformerV2;

hssl_plugin_api::export! {
    name: "pvt",
    backbone "pvt": PyramidVisionTransformer, "Pyramid Vision Transformer with learned positions and class token";
    backbone "pvt_v2": PyramidVisionTransformerV2, "Pyramid Vision Transformer v2: overlapping patches, no positions";
    head "pvt": PvtHead, "Blocks of spatial-reduction attention at constant width and resolution";
}
