//! Swin Transformer (Liu et al., 2021): attention inside windows, which every other block shifts. As
//! base model and, at constant width and resolution, as auxiliary head. Parameters carry timm's names.

mod attention;
mod block;
mod config;
mod head;
mod model;
mod window;

use head::SwinHead;
use model::SwinTransformer;

hssl_plugin_api::export! {
    name: "swin",
    backbone "swin": SwinTransformer, "Swin Transformer: four stages of attention in shifted windows";
    head "swin": SwinHead, "Swin blocks at constant width and resolution";
}
