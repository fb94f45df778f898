//! Linear probing of frozen features (DINO's and iBOT's protocol).

mod evaluator;

use evaluator::LinearProbe;

hssl_plugin_api::export! {
    name: "linear",
    evaluator "linear": LinearProbe, "linear classifier on frozen features, learning rate swept";
}
