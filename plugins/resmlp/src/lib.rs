//! ResMLP (Touvron et al., 2021) as a backbone and as an auxiliary head. Its token mixer is a dense layer
//! over positions, so that both are made for one grid. Parameters carry timm's names.

mod block;
mod config;
mod head;
mod model;
mod token_linear;

use head::ResMlpHead;
use model::ResMlp;

hssl_plugin_api::export! {
    name: "resmlp",
    backbone "resmlp": ResMlp, "ResMLP, dense layers over positions and channels; images of one size";
    head "resmlp": ResMlpHead, "ResMLP blocks at constant width and resolution";
}
