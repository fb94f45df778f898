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
    /// Whether batches are sent ahead: a GPU would otherwise wait for them, while on the CPU that would
    /// take nothing off a step.
    sends_ahead: bool,
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
        let sends_ahead = device.is_cuda();
        Self { loader, device, sends_ahead, ahead: None, waited: Duration::ZERO }
    }

    /// The next batch.
    ///
    /// # Errors
    /// There is none, or it cannot be loaded, or the device failed.
    pub(super) fn next(&mut self) -> Result<Fed> {
        let next = self.ahead.take().or_else(|| self.load());
        next.ok_or_else(|| Error::Training("the loader ended before the epoch did".into()))?
    }

    /// Sends the next batch while a GPU is busy with the one before.
    pub(super) fn send_ahead(&mut self) {
        if self.sends_ahead && self.ahead.is_none() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hssl_datasets::{LoaderOptions, MultiCrop, Roots, open};

    use super::*;

    fn feed(sends_ahead: bool) -> Feed {
        let images = open("generated:shapes?n=20&size=24", &Roots::default()).unwrap();
        let views = MultiCrop { global_crops_size: 16, ..MultiCrop::default() };
        let options = LoaderOptions::training(8, 1, 0);
        let loader = Loader::start(images, Arc::new(views), options).unwrap();
        Feed { sends_ahead, ..Feed::new(loader, Device::Cpu) }
    }

    #[test]
    fn what_is_sent_ahead_is_what_comes_next() {
        let (mut plain, mut ahead) = (feed(false), feed(true));
        for _ in 0..2 {
            let [here, there] = [&mut plain, &mut ahead].map(|feed| {
                let Fed { views, images } = feed.next().unwrap();
                feed.send_ahead();
                feed.send_ahead();
                (images, views.global.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            });
            assert_eq!(here, there);
            assert_eq!(here.0, 8);
        }
        // 20 images are two batches.
        for feed in [&mut plain, &mut ahead] {
            let message = feed.next().err().unwrap().to_string();
            assert!(message.contains("the loader ended"), "{message}");
        }
    }
}
