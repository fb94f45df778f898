//! Plain images, batch by batch.

use std::sync::Arc;

use hssl_datasets::{Dataset, EvalTransform, Loader, LoaderOptions};
use hssl_plugin_api::component::Split;
use hssl_tensor::{Device, Tensor};

use crate::error::{Error, Result};
use crate::evaluate::{EvaluationData, images_tensor};
use crate::events::{Event, Observer};
use crate::images;

/// A part of an evaluation's images, resized and cropped as it does.
pub struct Images {
    dataset: Arc<dyn Dataset>,
    transform: EvalTransform,
    batch_size: usize,
    threads: usize,
}

impl Images {
    /// One of the two parts.
    pub fn of(data: &EvaluationData, split: Split) -> Self {
        Self {
            dataset: match split {
                Split::Train => data.train.clone(),
                Split::Test => data.test.clone(),
            },
            transform: data.plain.clone(),
            batch_size: data.batch_size,
            threads: data.threads,
        }
    }

    /// Hands over each batch, (B, 3, H, W), with its labels.
    ///
    /// # Errors
    /// The images cannot be read, the user stops, or `take` fails.
    pub fn each(
        &self,
        device: &Device,
        observer: &dyn Observer,
        mut take: impl FnMut(&Tensor, &[i64]) -> Result<()>,
    ) -> Result<()> {
        let mut options = LoaderOptions::evaluation(self.batch_size);
        options.threads = self.threads;
        options = images::options_for(options, device);
        let transform = Arc::new(self.transform.clone());
        let (mut done, total) = (0, self.dataset.len());
        for batch in Loader::start(self.dataset.clone(), transform, options)? {
            let mut batch = batch?;
            take(&images_tensor(&mut batch, device)?, &batch.labels)?;
            done += batch.labels.len();
            let text = format!("comparing branches on {}", self.dataset.describe());
            observer.event(&Event::Progress { text, done, total });
            if observer.cancelled() {
                return Err(Error::Training("stopped by the user".into()));
            }
        }
        Ok(())
    }
}
