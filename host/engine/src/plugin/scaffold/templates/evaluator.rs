//! An evaluator: each test image gets the class whose mean training feature is nearest by angle.
//! Replace [`MyPlugin::run`] by your protocol.

use std::collections::BTreeMap;

use hssl_plugin_api::component::{
    Evaluation, Evaluator, FeatureKind, FeatureRequest, Report, Split,
};
use hssl_plugin_api::{Result, Tensor};
use schemars::JsonSchema;
use serde::Deserialize;

hssl_plugin_api::export! {
    name: "my_plugin",
    evaluator "my_plugin": MyPlugin, "Nearest class mean of frozen features";
}

/// Options of the evaluation. Their descriptions are shown to users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which vector stands for an image.
    features: FeatureKind,
}

impl Default for Config {
    fn default() -> Self {
        Self { features: FeatureKind::Image }
    }
}

/// The evaluator.
#[derive(Debug)]
pub struct MyPlugin {
    features: FeatureKind,
}

impl Evaluator for MyPlugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { features: config.features })
    }

    fn run(&mut self, cx: &Evaluation<'_>) -> Result<Report> {
        let request = |split| FeatureRequest { split, kind: self.features, augment: None };
        // Features (n, C) and labels (n).
        let (train, train_labels) = cx.features(&request(Split::Train))?;
        let (test, test_labels) = cx.features(&request(Split::Test))?;
        let means = class_means(&train, &train_labels, cx)?;
        // (n, C) x (C, classes): the largest cosine wins.
        let similarity = test.l2_normalize(-1, 1e-12)?.matmul(&means.t()?)?;
        let (_, ranked) = similarity.sort(true)?;
        let ranked = ranked.to_vec::<i64>()?;
        let labels = test_labels.to_vec::<i64>()?;
        let hits = ranked.chunks(cx.classes).zip(&labels).filter(|(row, label)| row[0] == **label);
        let top1 = 100.0 * hits.count() as f64 / labels.len().max(1) as f64;
        Ok(Report {
            headline: "top1".into(),
            metrics: BTreeMap::from([("top1".into(), top1)]),
            ..Report::default()
        })
    }
}

/// Unit vectors (classes, C): the direction of each class's mean.
fn class_means(features: &Tensor, labels: &Tensor, cx: &Evaluation<'_>) -> Result<Tensor> {
    let features = features.l2_normalize(-1, 1e-12)?;
    let (count, width) = features.dims2()?;
    let index = labels.reshape((count, 1))?.broadcast_to((count, width))?;
    let sums = cx.context().zeros((cx.classes, width))?.scatter_add(&index, &features, 0)?;
    sums.l2_normalize(-1, 1e-12)
}
