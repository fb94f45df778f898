//! PoolFormer (Yu et al., 2022) as a backbone and, at constant width and resolution, as an auxiliary
//! head. Parameters carry the names of timm's MetaFormer.

mod block;
mod config;
mod head;
mod model;

use head::PoolFormerHead;
use model::PoolFormer;

hssl_plugin_api::export! {
    name: "poolformer",
    backbone "poolformer": PoolFormer, "PoolFormer, average pooling as token mixer, in four stages";
    head "poolformer": PoolFormerHead, "PoolFormer blocks at constant width and resolution";
}
