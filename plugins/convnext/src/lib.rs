//! ConvNeXt (Liu et al., 2022) as an auxiliary head. Parameters carry timm's names.

mod block;
mod head;

use head::ConvNeXtHead;

hssl_plugin_api::export! {
    name: "convnext",
    head "convnext": ConvNeXtHead, "ConvNeXt blocks at constant width and resolution";
}
