//! MoCo v3: momentum contrast for vision transformers (Chen, Xie and He, 2021), written against the
//! supervision graph.

mod objective;
mod recipe;

use objective::MoCo;

hssl_plugin_api::export! {
    name: "moco",
    objective "moco": MoCo, "MoCo v3: contrast with the momentum teacher's keys of the batch";
}
