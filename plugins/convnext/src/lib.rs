//! ConvNeXt (Liu et al., 2022) as a backbone and, at constant width and resolution, as an auxiliary
//! head. Parameters carry timm's names.

mod block;
mod config;
mod head;
mod model;

use head::ConvNeXtHead;
use model::ConvNeXt;

hssl_plugin_api::export! {
    name: "convnext",
    backbone "convnext": ConvNeXt, "ConvNeXt, depthwise convolutions in four stages";
    head "convnext": ConvNeXtHead, "ConvNeXt blocks at constant width and resolution";
}
