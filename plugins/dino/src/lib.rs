//! DINO: self-distillation with no labels (Caron et al., 2021), written against the supervision graph.

mod assignment;
mod objective;
mod recipe;
mod sinkhorn;

use objective::Dino;

hssl_plugin_api::export! {
    name: "dino",
    objective "dino": Dino, "DINO: self-distillation with centring and sharpening";
}
