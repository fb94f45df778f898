//! The images that a head answers and a base without it does not (equations 3 and 4).

use std::collections::BTreeMap;

use hssl_datasets::Roots;
use hssl_plugin_api::component::{FeatureKind, FeatureRequest, Split};
use hssl_tensor::{Array, Device, Tensor, ops};
use serde::{Deserialize, Serialize};

use super::compare::head_branches;
use super::images::Images;
use crate::config::{ComponentConfig, RunConfig};
use crate::device;
use crate::error::{Error, Result};
use crate::evaluate::{self, Encoded, EvaluationData, FeatureSource};
use crate::events::Observer;
use crate::plugin::{Registry, import};
use crate::run::RunFolder;
use crate::supervision::BASE;
use crate::train::Learner;

/// What answers: nearest neighbours, as in the paper's other figures.
const ANSWERS: &str = "knn";

/// How a head's knowledge goes over to the base.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleSets {
    /// N_s of equation (3): images that the head answers right and the base of the plain run does not.
    pub n_s: usize,
    /// sIoU of equation (4): of the images that the base learned to answer, the share that the head
    /// answers. None if it learned none. Despite its name, what it divides by is no union.
    pub s_iou: Option<f64>,
}

/// From what the plain run's base, the base and the head answer right.
pub fn sample_sets(plain: &[bool], base: &[bool], head: &[bool]) -> SampleSets {
    let images = || plain.iter().zip(base).zip(head);
    let n_s = images().filter(|((plain, _), head)| **head && !**plain).count();
    let learned = images().filter(|((plain, base), _)| **base && !**plain);
    let (learned, both) =
        learned.fold((0, 0), |(learned, both), (_, head)| (learned + 1, both + usize::from(*head)));
    let s_iou = (learned > 0).then(|| both as f64 / learned as f64);
    SampleSets { n_s, s_iou }
}

/// The sets of each head branch of a run, against a run without heads on the same images.
///
/// # Errors
/// The runs were evaluated on different images, cannot be read, or the user stops.
pub fn sets_of(
    (plain, plain_config): (&RunFolder, &RunConfig),
    (run, config): (&RunFolder, &RunConfig),
    registry: &Registry,
    (roots, limits): (&Roots, (usize, usize)),
    observer: &dyn Observer,
) -> Result<BTreeMap<String, SampleSets>> {
    let data = EvaluationData::open(config, roots, limits)?;
    let plain_data = EvaluationData::open(plain_config, roots, limits)?;
    for (ours, theirs) in [(&data.train, &plain_data.train), (&data.test, &plain_data.test)] {
        if ours.fingerprint() != theirs.fingerprint() {
            return Err(Error::Composition(format!(
                "{} and {} are evaluated on different images: {} and {}; set data.eval_train and \
                 data.eval_test to the same for both",
                plain.path().display(),
                run.path().display(),
                theirs.describe(),
                ours.describe()
            )));
        }
    }
    let mut of_plain = answers(plain, plain_config, &plain_data, registry, false, observer)?;
    let mut of_run = answers(run, config, &data, registry, true, observer)?;
    let (Some(plain), Some(base)) = (of_plain.remove(BASE), of_run.remove(BASE)) else {
        return Err(Error::Composition("a run without a base".into()));
    };
    let sets = |(head, right): (String, Vec<bool>)| (head, sample_sets(&plain, &base, &right));
    Ok(of_run.into_iter().map(sets).collect())
}

/// Which test images the branches of a run answer right, by the teacher.
fn answers(
    run: &RunFolder,
    config: &RunConfig,
    data: &EvaluationData,
    registry: &Registry,
    heads: bool,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Vec<bool>>> {
    let device = device::select(&config.train.device)?;
    let mut learner = Learner::of_run(config, registry, &device, run)?;
    let mut branches = vec![BASE.to_owned()];
    if heads {
        branches.extend(head_branches(&learner));
    }
    let train = encode(&mut learner, &branches, data, Split::Train, observer)?;
    let mut test = encode(&mut learner, &branches, data, Split::Test, observer)?;
    let knn = ComponentConfig {
        plugin: ANSWERS.into(),
        options: serde_json::Map::from_iter([("per_image".into(), true.into())]),
    };
    let about = (data.classes()?, config.train.seed);
    let mut right = BTreeMap::new();
    for (branch, train) in train {
        let Some(test) = test.remove(&branch) else { continue };
        let mut source = Given { train, test, device: device.clone() };
        let report = evaluate::run(&mut source, &knn, registry, about, observer)?;
        right.insert(branch, report.correct);
    }
    Ok(right)
}

/// Image-level vectors of a split by branch.
fn encode(
    learner: &mut Learner,
    branches: &[String],
    data: &EvaluationData,
    split: Split,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Encoded>> {
    let device = learner.device().clone();
    let mut rows: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    let mut labels = Vec::new();
    Images::of(data, split).each(&device, observer, |images, of_images| {
        for (branch, features) in learner.teacher_features(images, branches)? {
            let image = ops::cast(&import(&features.image), hssl_tensor::DType::F32)?;
            rows.entry(branch).or_default().push(image);
        }
        labels.extend_from_slice(of_images);
        Ok(())
    })?;
    let count = labels.len();
    let labels = Array::from_vec(labels, count, &device).map_err(hssl_tensor::Error::from)?;
    let labels = Tensor::constant(labels);
    let encoded = |(branch, rows): (String, Vec<Tensor>)| -> Result<(String, Encoded)> {
        let features = ops::cat(&rows.iter().collect::<Vec<_>>(), 0)?;
        Ok((branch, Encoded { features, labels: labels.clone() }))
    };
    rows.into_iter().map(encoded).collect()
}

/// Features that are there already.
struct Given {
    train: Encoded,
    test: Encoded,
    device: Device,
}

impl FeatureSource for Given {
    fn features(&mut self, asked: &FeatureRequest, _: &dyn Observer) -> Result<Encoded> {
        if asked.kind != FeatureKind::Image || asked.augment.is_some() {
            return Err(Error::Composition(
                "of a head there is only the image-level vector of plain images".into(),
            ));
        }
        Ok(match asked.split {
            Split::Train => self.train.clone(),
            Split::Test => self.test.clone(),
        })
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_are_those_of_the_worked_example() {
        let of = |right: &[usize]| (1..=8).map(|i| right.contains(&i)).collect::<Vec<bool>>();
        let found = sample_sets(&of(&[1, 2, 3]), &of(&[2, 3, 4, 5, 6]), &of(&[1, 4, 5, 7]));
        assert_eq!(found, SampleSets { n_s: 3, s_iou: Some(2.0 / 3.0) });
        assert_eq!(sample_sets(&[true], &[true], &[true]).s_iou, None);
    }
}
