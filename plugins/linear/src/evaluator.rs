//! One linear layer per learning rate, all trained on the same batches; the best is reported.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use hssl_plugin_api::component::{
    Evaluation, Evaluator, FeatureKind, FeatureRequest, OptimizerGroup, OptimizerRequest, Report,
    Split,
};
use hssl_plugin_api::{Init, Result, Tensor, refuse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The probe's optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Momentum 0.9.
    Sgd,
    /// Layer-wise adaptive rates, momentum 0.9.
    Lars,
}

/// Options of the `linear` evaluator.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Passes over the training images.
    #[serde(default = "epochs")]
    pub epochs: usize,
    /// Images per step.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// Learning rates for 256 images per step, each with a classifier of its own.
    #[serde(default = "lrs")]
    pub lrs: Vec<f64>,
    /// The optimizer.
    #[serde(default = "sgd")]
    pub optimizer: Algorithm,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Encode randomly cropped and flipped images anew in each epoch; off, every image is encoded
    /// once by the test transform, which takes a fraction of the time.
    #[serde(default = "yes")]
    pub augment: bool,
    /// Which vector stands for an image.
    #[serde(default = "last_four")]
    pub features: FeatureKind,
}

fn epochs() -> usize {
    100
}
fn batch_size() -> usize {
    1024
}
/// {1..9} x 10^{-4..0}: iBOT's sweep.
fn lrs() -> Vec<f64> {
    (-4..=0).flat_map(|e| (1..=9).map(move |m| f64::from(m) * 10f64.powi(e))).collect()
}
fn sgd() -> Algorithm {
    Algorithm::Sgd
}
fn yes() -> bool {
    true
}
fn last_four() -> FeatureKind {
    FeatureKind::LastFour
}

/// The probe.
pub struct LinearProbe {
    config: Config,
}

/// The classifiers of the sweep, joined into one layer: outputs (n, classifiers * classes).
struct Classifiers {
    weights: Vec<Tensor>,
    biases: Vec<Tensor>,
    classes: usize,
}

impl Classifiers {
    fn new(cx: &Evaluation<'_>, count: usize, width: usize) -> Result<Self> {
        let init = Init::Normal { mean: 0.0, std: 0.01 };
        let scope = |i: usize| cx.params().pp(i);
        Ok(Self {
            weights: (0..count)
                .map(|i| scope(i).get("weight", &[cx.classes, width], init.clone()))
                .collect::<Result<_>>()?,
            biases: (0..count)
                .map(|i| scope(i).get("bias", &[cx.classes], Init::ZEROS))
                .collect::<Result<_>>()?,
            classes: cx.classes,
        })
    }

    /// (n, C) to (n * classifiers, classes), classifiers of one image side by side.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = Tensor::cat(&self.weights.iter().collect::<Vec<_>>(), 0)?;
        let bias = Tensor::cat(&self.biases.iter().collect::<Vec<_>>(), 0)?;
        let rows = x.dim(0)? * self.weights.len();
        x.linear(&weight, Some(&bias))?.reshape((rows, self.classes))
    }

    fn len(&self) -> usize {
        self.weights.len()
    }
}

impl Evaluator for LinearProbe {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.epochs == 0 || config.batch_size == 0 {
            refuse!("linear: epochs and batch_size must be at least 1");
        }
        if config.lrs.is_empty() || config.lrs.iter().any(|lr| lr.is_nan() || *lr <= 0.0) {
            refuse!("linear: lrs is {:?}; expected numbers above 0", config.lrs);
        }
        Ok(Self { config })
    }

    fn run(&mut self, cx: &Evaluation<'_>) -> Result<Report> {
        let config = &self.config;
        let plain = |split| FeatureRequest { split, kind: config.features, augment: None };
        let (test, test_labels) = cx.features(&plain(Split::Test))?;
        let test_labels = test_labels.to_vec::<i64>()?;
        let classifiers = Classifiers::new(cx, config.lrs.len(), test.dim(1)?)?;
        let optimizer = cx.optimizer(&self.optimizer())?;

        let mut best: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
        let mut last = vec![0.0; classifiers.len()];
        for epoch in 0..config.epochs {
            let request =
                FeatureRequest { augment: config.augment.then_some(epoch), ..plain(Split::Train) };
            let (train, labels) = cx.features(&request)?;
            let lr_factor = 0.5 * (1.0 + (PI * epoch as f64 / config.epochs as f64).cos());
            self.epoch(cx, epoch, &classifiers, &optimizer, (&train, &labels), lr_factor)?;
            last = accuracy(&classifiers, &test, &test_labels)?;
            for (i, top1) in last.iter().enumerate() {
                let entry = best.entry(i).or_insert((*top1, epoch));
                if *top1 > entry.0 {
                    *entry = (*top1, epoch);
                }
            }
            let top = last.iter().copied().fold(0.0, f64::max);
            if cx.progress(epoch + 1, config.epochs, &format!("linear probe, top-1 {top:.2} %"))? {
                refuse!("linear: stopped by the user");
            }
        }
        let (winner, (top1, epoch)) =
            best.into_iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0)).unwrap_or((0, (0.0, 0)));
        let final_top1 = last.iter().copied().fold(0.0, f64::max);
        Ok(Report {
            headline: "top1".into(),
            metrics: BTreeMap::from([
                ("top1".into(), top1),
                ("top1_last_epoch".into(), final_top1),
                ("lr".into(), config.lrs[winner]),
            ]),
            notes: vec![format!("best of {} learning rates, epoch {}", last.len(), epoch + 1)],
            ..Report::default()
        })
    }
}

impl LinearProbe {
    /// Rates are for 256 images; [`LinearProbe::epoch`] scales them by what its steps hold.
    fn optimizer(&self) -> OptimizerRequest {
        let config = &self.config;
        let group = |(i, lr): (usize, &f64)| OptimizerGroup {
            parameters: vec![format!("{i}.weight"), format!("{i}.bias")],
            lr: *lr,
            weight_decay: config.weight_decay,
        };
        OptimizerRequest {
            algorithm: match config.optimizer {
                Algorithm::Sgd => "sgd".into(),
                Algorithm::Lars => "lars".into(),
            },
            momentum: 0.9,
            groups: config.lrs.iter().enumerate().map(group).collect(),
        }
    }

    /// One pass in a random order.
    fn epoch(
        &self,
        cx: &Evaluation<'_>,
        epoch: usize,
        classifiers: &Classifiers,
        optimizer: &hssl_plugin_api::component::Optimizer<'_>,
        (features, labels): (&Tensor, &Tensor),
        lr_factor: f64,
    ) -> Result<()> {
        let count = features.dim(0)?;
        cx.context().random_stream(epoch as u64)?;
        let order = cx.context().uniform(count, 0.0, 1.0)?.sort(false)?.1;
        let batch = self.config.batch_size.min(count);
        let lr_factor = lr_factor * batch as f64 / 256.0;
        for start in (0..count).step_by(batch) {
            let len = batch.min(count - start);
            let index = order.narrow(0, start, len)?;
            let x = features.index_select(&index, 0)?;
            let y = labels.index_select(&index, 0)?;
            let repeated = y
                .unsqueeze(1)?
                .broadcast_to((len, classifiers.len()))?
                .reshape(len * classifiers.len())?;
            // The sum over classifiers: each gets the gradient of its own mean loss.
            let losses = classifiers.forward(&x)?.cross_entropy(&repeated, 0.0, -100)?;
            optimizer.step(&losses.sum_all()?.scale(1.0 / len as f64)?, lr_factor)?;
        }
        Ok(())
    }
}

/// Top-1 of each classifier, %.
fn accuracy(classifiers: &Classifiers, features: &Tensor, labels: &[i64]) -> Result<Vec<f64>> {
    const CHUNK: usize = 4096;
    let mut hits = vec![0usize; classifiers.len()];
    for start in (0..labels.len()).step_by(CHUNK) {
        let len = CHUNK.min(labels.len() - start);
        let logits = classifiers.forward(&features.narrow(0, start, len)?.detach()?)?.detach()?;
        let predicted = logits.argmax(-1, false)?.to_vec::<i64>()?;
        for (row, label) in predicted.chunks(classifiers.len()).zip(&labels[start..start + len]) {
            for (hits, class) in hits.iter_mut().zip(row) {
                *hits += usize::from(class == label);
            }
        }
    }
    Ok(hits.iter().map(|hits| 100.0 * *hits as f64 / labels.len().max(1) as f64).collect())
}
