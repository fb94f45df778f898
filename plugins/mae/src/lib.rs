//! Masked autoencoder (He et al., 2022), written against the supervision graph.

mod objective;

use objective::Mae;

hssl_plugin_api::export! {
    name: "mae",
    objective "mae": Mae, "MAE: a decoder reconstructs the patches that the base does not see";
}
