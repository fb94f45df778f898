//! BYOL: bootstrap your own latent (Grill et al., 2020), written against the supervision graph.

mod objective;
mod recipe;

use objective::Byol;

hssl_plugin_api::export! {
    name: "byol",
    objective "byol": Byol, "BYOL: predict the momentum teacher's vector of another view";
}
