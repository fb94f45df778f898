//! Votes of the nearest training images, weighted by exp(similarity / T).

use std::collections::BTreeMap;

use hssl_plugin_api::component::{
    Evaluation, Evaluator, FeatureKind, FeatureRequest, Report, Split,
};
use hssl_plugin_api::{DType, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of the `knn` evaluator.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Numbers of neighbours that are reported.
    #[serde(default = "ks")]
    pub k: Vec<usize>,
    /// The one that tables show.
    #[serde(default = "headline")]
    pub headline_k: usize,
    /// Temperature T of the votes.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Which vector stands for an image.
    #[serde(default = "image")]
    pub features: FeatureKind,
    /// Report for each test image whether `headline_k` neighbours answer it right.
    #[serde(default)]
    pub per_image: bool,
}

fn ks() -> Vec<usize> {
    vec![10, 20, 100, 200]
}
fn headline() -> usize {
    20
}
fn temperature() -> f64 {
    0.07
}
fn image() -> FeatureKind {
    FeatureKind::Image
}

/// Test images compared at a time.
const CHUNK: usize = 256;

/// Weighted kNN.
pub struct Knn {
    config: Config,
}

impl Evaluator for Knn {
    type Config = Config;

    fn new(mut config: Config) -> Result<Self> {
        config.k.sort_unstable();
        config.k.dedup();
        if config.k.first().is_none_or(|k| *k == 0) {
            refuse!("knn: k is {:?}; expected numbers above 0", config.k);
        }
        if config.temperature.is_nan() || config.temperature <= 0.0 {
            refuse!("knn: temperature is {}; expected a number above 0", config.temperature);
        }
        Ok(Self { config })
    }

    fn run(&mut self, cx: &Evaluation<'_>) -> Result<Report> {
        let request = |split| FeatureRequest { split, kind: self.config.features, augment: None };
        let (train, train_labels) = cx.features(&request(Split::Train))?;
        let (test, test_labels) = cx.features(&request(Split::Test))?;
        let bank = train.l2_normalize(-1, 1e-12)?;
        let (known, queries) = (train.dim(0)?, test.dim(0)?);

        let ks: Vec<usize> = self.config.k.iter().copied().filter(|k| *k <= known).collect();
        let Some(most) = ks.last().copied() else {
            refuse!(
                "knn: the smallest k is {}, but there are only {known} training images",
                self.config.k[0]
            );
        };
        let shown =
            if ks.contains(&self.config.headline_k) { self.config.headline_k } else { most };
        let mut hits = vec![(0usize, 0usize); ks.len()];
        let mut correct = Vec::new();
        for start in (0..queries).step_by(CHUNK) {
            if cx.progress(start, queries, "nearest neighbours")? {
                refuse!("knn: stopped by the user");
            }
            let len = CHUNK.min(queries - start);
            let query = test.narrow(0, start, len)?.l2_normalize(-1, 1e-12)?;
            let labels = test_labels.narrow(0, start, len)?.to_vec::<i64>()?;
            let (similarity, index) = query.matmul(&bank.t()?)?.top_k(most)?;
            let votes = similarity.cast(DType::F32)?.scale(1.0 / self.config.temperature)?.exp()?;
            let neighbours = index.reshape(len * most)?;
            let voters = train_labels.index_select(&neighbours, 0)?.reshape((len, most))?;
            for (k, hits) in ks.iter().zip(&mut hits) {
                let scores = tally(cx, &votes, &voters, *k)?;
                let ranked = scores.sort(true)?.1.to_vec::<i64>()?;
                for (row, label) in ranked.chunks(cx.classes).zip(&labels) {
                    let right = row.first() == Some(label);
                    hits.0 += usize::from(right);
                    if self.config.per_image && *k == shown {
                        correct.push(right);
                    }
                    hits.1 += usize::from(row.iter().take(5).any(|class| class == label));
                }
            }
        }

        let share = |count: usize| 100.0 * count as f64 / queries.max(1) as f64;
        let mut metrics = BTreeMap::new();
        for (k, (top1, top5)) in ks.iter().zip(hits) {
            metrics.insert(format!("top1@{k}"), share(top1));
            if cx.classes > 5 {
                metrics.insert(format!("top5@{k}"), share(top5));
            }
        }
        let skipped: Vec<String> =
            self.config.k.iter().filter(|k| **k > known).map(ToString::to_string).collect();
        let notes = match skipped.as_slice() {
            [] => Vec::new(),
            skipped => {
                vec![format!("k = {} left out: {known} training images", skipped.join(", "))]
            }
        };
        Ok(Report { headline: format!("top1@{shown}"), metrics, notes, correct })
    }
}

/// Votes of the `k` nearest summed per class: (n, classes).
fn tally(cx: &Evaluation<'_>, votes: &Tensor, voters: &Tensor, k: usize) -> Result<Tensor> {
    let zeros = cx.context().zeros((votes.dim(0)?, cx.classes))?;
    zeros.scatter_add(&voters.narrow(1, 0, k)?, &votes.narrow(1, 0, k)?, 1)
}
