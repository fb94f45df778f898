//! Vision Transformer (Dosovitskiy et al., 2021; DINO's form: class token, learned positions; on request
//! with the registers and layer scales of DINOv2) and its block as an auxiliary head. Parameters carry
//! timm's names.

mod config;
mod head;
mod model;
mod positions;

use head::VisionTransformerHead;
use model::VisionTransformer;

hssl_plugin_api::export! {
    name: "vit",
    backbone "vit": VisionTransformer, "Vision Transformer with class token and learned positions";
    head "vit": VisionTransformerHead, "Transformer blocks on the map's positions as tokens";
}
