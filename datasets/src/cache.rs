//! Decoded images kept in memory, for sets that fit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Dataset, Result, Sample};

/// Keeps decoded samples of `dataset` up to `bytes` bytes of pixels and masks; the others are read
/// each time. A cached set is the same set: same order, same fingerprint.
pub fn cached(dataset: Arc<dyn Dataset>, bytes: usize) -> Arc<dyn Dataset> {
    let slots = std::iter::repeat_with(OnceLock::new).take(dataset.len()).collect();
    Arc::new(Cached { dataset, slots, left: AtomicUsize::new(bytes) })
}

struct Cached {
    dataset: Arc<dyn Dataset>,
    slots: Vec<OnceLock<Box<Sample>>>,
    left: AtomicUsize,
}

impl Cached {
    fn keep(&self, index: usize, sample: &Sample) {
        let mask = sample.mask.as_ref().map_or(0, |mask| mask.data.len());
        let size = sample.image.data.len() + mask + size_of::<Sample>();
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |l| l.checked_sub(size));
        if taken.is_ok() && self.slots[index].set(Box::new(sample.clone())).is_err() {
            // Another thread was first: its copy is the one that is kept.
            self.left.fetch_add(size, Ordering::Relaxed);
        }
    }
}

impl Dataset for Cached {
    fn len(&self) -> usize {
        self.dataset.len()
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
        self.dataset.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.dataset.name(index)
    }

    fn load(&self, index: usize) -> Result<Sample> {
        if let Some(sample) = self.slots[index].get() {
            return Ok(Sample::clone(sample));
        }
        let sample = self.dataset.load(index)?;
        self.keep(index, &sample);
        Ok(sample)
    }

    fn fingerprint(&self) -> String {
        self.dataset.fingerprint()
    }

    fn describe(&self) -> String {
        self.dataset.describe()
    }
}
