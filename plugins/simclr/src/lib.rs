//! SimCLR: a simple framework for contrastive learning (Chen et al., 2020), written against the
//! supervision graph.

mod objective;
mod recipe;

use objective::SimClr;

hssl_plugin_api::export! {
    name: "simclr",
    objective "simclr": SimClr, "SimCLR: contrast with the other images of the batch (NT-Xent)";
}
