//! A part of a set: 1 % and 10 % of the labels, or a quick run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataset::{Fingerprint, counts};
use crate::random::{Key, Stream};
use crate::{Dataset, Error, Result, Sample};

/// How much of a set to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// A share of each class, in (0, 1].
    Fraction(f64),
    /// This many images, from the classes in proportion.
    Count(usize),
}

/// The images of `dataset` at `indices`, in this order.
///
/// # Errors
/// [`Error::Layout`] if there is no index, or one outside the set.
pub fn select(dataset: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Arc<dyn Dataset>> {
    let len = dataset.len();
    let found = match indices.iter().find(|index| **index >= len) {
        _ if indices.is_empty() => "no index".to_owned(),
        Some(index) => format!("index {index} in a set of {len}"),
        None => return Ok(Arc::new(Subset { dataset, indices })),
    };
    let place = format!("a subset of {}", dataset.describe());
    Err(Error::Layout { place, found, expected: format!("indices below {len}") })
}

/// A random part of `dataset` in which each class keeps its share, in the set's order.
///
/// The part depends on `seed` and the set alone; a smaller fraction lies within a larger one. Each
/// class keeps at least one image under [`Portion::Fraction`].
///
/// # Errors
/// [`Error::Setting`] for a portion that is empty or more than the set.
pub fn subset(dataset: Arc<dyn Dataset>, portion: Portion, seed: u64) -> Result<Arc<dyn Dataset>> {
    let mut classes: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
    for index in 0..dataset.len() {
        classes.entry(dataset.label(index)).or_default().push(index);
    }
    let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
    let shares = match portion {
        Portion::Fraction(fraction) if fraction > 0.0 && fraction <= 1.0 => sizes
            .iter()
            .map(|size| ((*size as f64 * fraction).round() as usize).clamp(1, *size))
            .collect(),
        Portion::Count(count) if (1..=dataset.len()).contains(&count) => {
            proportional(&sizes, count)
        }
        _ => {
            return Err(Error::Setting {
                key: format!("subset of {}", dataset.describe()),
                found: format!("{portion:?}"),
                expected: format!(
                    "a fraction above 0, at most 1, or 1 to {} images",
                    dataset.len()
                ),
            });
        }
    };
    let mut indices = Vec::new();
    for (number, (members, share)) in classes.values_mut().zip(shares).enumerate() {
        let key = Key { seed, epoch: number as u64, index: u64::MAX };
        Stream::new(key, u64::MAX - 2).shuffle(members);
        indices.extend(&members[..share]);
    }
    indices.sort_unstable();
    select(dataset, indices)
}

/// `count` split in proportion to `sizes`, remainders to the largest fractions.
fn proportional(sizes: &[usize], count: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let mut shares: Vec<usize> = sizes.iter().map(|size| size * count / total).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|class| std::cmp::Reverse(sizes[*class] * count % total));
    let missing = count - shares.iter().sum::<usize>();
    for class in by_remainder.into_iter().take(missing) {
        shares[class] += 1;
    }
    shares
}

struct Subset {
    dataset: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn classes(&self) -> &[String] {
        self.dataset.classes()
    }

    fn mask_classes(&self) -> &[String] {
        self.dataset.mask_classes()
    }

    fn ignore_index(&self) -> Option<u8> {
        self.dataset.ignore_index()
    }

    fn label(&self, index: usize) -> Option<i64> {
        self.dataset.label(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.dataset.name(self.indices[index])
    }

    fn load(&self, index: usize) -> Result<Sample> {
        self.dataset.load(self.indices[index])
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::new(&self.dataset.fingerprint());
        for &index in &self.indices {
            fingerprint.add("", index as u64, self.dataset.label(index));
        }
        fingerprint.finish()
    }

    fn describe(&self) -> String {
        let counts = counts(self.len(), self.classes().len());
        format!("{counts} of {}", self.dataset.describe())
    }
}
