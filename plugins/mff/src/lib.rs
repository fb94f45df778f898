//! Multi-level feature fusion for masked autoencoders (Liu et al., 2023: "Improving pixel-based MIM by
//! reducing wasted modeling capability"), written against the supervision graph.

mod fusion;
mod objective;

use objective::Mff;

hssl_plugin_api::export! {
    name: "mff",
    objective "mff": Mff, "MFF: MAE whose decoder sees a mixture of the base's layers";
}
