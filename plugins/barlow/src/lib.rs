//! Barlow Twins: redundancy reduction (Zbontar et al., 2021), written against the supervision graph.

mod objective;
mod recipe;

use objective::BarlowTwins;

hssl_plugin_api::export! {
    name: "barlow",
    objective "barlow": BarlowTwins, "Barlow Twins: make the cross-correlation of two views the identity";
}
