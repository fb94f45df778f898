//! Vision Transformer (Dosovitskiy et al., 2021; DINO's form: no layer scale, class token, learned
//! positions). Parameters carry timm's names.

mod config;
mod model;
mod positions;

use model::VisionTransformer;

hssl_plugin_api::export! {
    name: "vit",
    backbone "vit": VisionTransformer, "Vision Transformer with class token and learned positions";
}
