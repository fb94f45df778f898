//! The batches of an epoch, on the device by the time they are asked for.

use std::time::{Duration, Instant};

use hssl_datasets::Loader;
use hssl_tensor::Device;

use super::{BatchViews, batches};
use crate::error::{Error, Result};

/// Takes batches from a loader to a device.
pub(super) struct Feed {
    loader: Loader,
    device: Device,
    ahead: Option<Result<Fed>>,
    waited: Duration,
}

/// A batch on its device.
pub(super) struct Fed {
    pub views: BatchViews,
    pub images: usize,
}

impl Feed {
    pub(super) fn new(loader: Loader, device: Device) -> Self {
        Self { loader, device, ahead: None, waited: Duration::ZERO }
    }

    /// The next batch.
    ///
    /// # Errors
    /// There is none, or it cannot be loaded, or the device failed.
    pub(super) fn next(&mut self) -> Result<Fed> {
        let next = self.ahead.take().or_else(|| self.load());
        next.ok_or_else(|| Error::Training("the loader ended before the epoch did".into()))?
    }

    /// Sends the next batch while a GPU is busy with the one before: what it would otherwise wait for. On
    /// the CPU that would take nothing off a step.
    pub(super) fn send_ahead(&mut self) {
        if self.device.is_cuda() && self.ahead.is_none() {
            self.ahead = self.load();
        }
    }

    /// How long the loader was waited for since this was last asked.
    pub(super) fn waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    fn load(&mut self) -> Option<Result<Fed>> {
        let asked = Instant::now();
        let batch = self.loader.next();
        self.waited += asked.elapsed();
        Some(match batch? {
            Ok(batch) => {
                let images = batch.labels.len();
                batches::views(batch, &self.device).map(|views| Fed { views, images })
            }
            Err(error) => Err(error.into()),
        })
    }
}
