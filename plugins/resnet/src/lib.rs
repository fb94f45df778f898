//! ResNet (He et al., 2016; v1.5, which strides in the 3x3 convolution of a bottleneck) and its block
//! as an auxiliary head. Parameters and buffers carry torchvision's names, which are timm's too.
//!
//! There is no `num_batches_tracked`: with a fixed momentum nothing reads it, PyTorch takes its absence
//! under `strict=True`, and torchvision's first weights lack it.

mod block;
mod config;
mod head;
mod model;

use head::ResNetHead;
use model::ResNet;

hssl_plugin_api::export! {
    name: "resnet",
    backbone "resnet": ResNet, "ResNet with basic or bottleneck blocks, for large or small images";
    head "resnet": ResNetHead, "Residual blocks of convolutions and batch norms at constant resolution";
}
