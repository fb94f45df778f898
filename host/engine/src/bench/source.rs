//! Batches without end.

use std::sync::Arc;

use hssl_datasets::{Batch, Dataset, Loader, LoaderOptions, MultiCrop, Roots, cached, open};
use hssl_tensor::Device;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::train::batches;

/// A configuration's training images, epoch after epoch, as training loads them.
pub(super) struct Source {
    dataset: Arc<dyn Dataset>,
    transform: Arc<MultiCrop>,
    options: LoaderOptions,
    loader: Loader,
}

impl Source {
    /// For a device that takes the batches.
    pub(super) fn new(config: &RunConfig, roots: &Roots, device: &Device) -> Result<Self> {
        let dataset = cached(open(&config.data.train, roots)?, config.data.cache_mb << 20);
        let options = batches::options(config, 0, device);
        let transform = Arc::new(config.views.clone());
        let loader = Loader::start(dataset.clone(), transform.clone(), options.clone())?;
        Ok(Self { dataset, transform, options, loader })
    }

    /// Threads that load.
    pub(super) fn threads(&self) -> usize {
        self.options.threads
    }

    pub(super) fn next(&mut self) -> Result<Batch> {
        if let Some(batch) = self.loader.next() {
            return Ok(batch?);
        }
        self.options.epoch += 1;
        let (dataset, transform) = (self.dataset.clone(), self.transform.clone());
        self.loader = Loader::start(dataset, transform, self.options.clone())?;
        let batch = self.loader.next().ok_or_else(|| {
            Error::Composition(
                "the data set is smaller than a batch; lower train.batch_size".into(),
            )
        })?;
        Ok(batch?)
    }
}
