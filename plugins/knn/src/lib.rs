//! Weighted k-nearest-neighbour classification of frozen features (Wu et al., 2018; DINO's protocol).

mod evaluator;

use evaluator::Knn;

hssl_plugin_api::export! {
    name: "knn",
    evaluator "knn": Knn, "weighted k-nearest neighbours on frozen features";
}
