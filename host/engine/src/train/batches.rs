//! Batches as tensors of views.

use std::collections::BTreeMap;

use hssl_datasets::{Batch, Delivery, LoaderOptions};
use hssl_tensor::{Array, Device, random};

use super::BatchViews;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::evaluate::loader_threads;
use crate::images::{arrays, options_for};

/// How an epoch of a configuration's training views is loaded for a device.
pub fn options(config: &RunConfig, epoch: u64, device: &Device) -> LoaderOptions {
    let mut options = LoaderOptions::training(config.train.batch_size, config.train.seed, epoch);
    options.threads = loader_threads(config.data.threads);
    options.prefetch = config.data.prefetch.max(1);
    options.bad_image_limit = Some(config.data.bad_image_limit).filter(|limit| *limit > 0);
    if config.data.augment_on_device && device.is_cuda() {
        return LoaderOptions { delivery: Delivery::Recipes, ..options };
    }
    options_for(options, device)
}

/// Moves a batch's views to a device: globals first, locals second if there are any.
pub fn views(mut batch: Batch, device: &Device) -> Result<BatchViews> {
    let mut groups = arrays(&mut batch, device)?.into_iter();
    let global =
        groups.next().ok_or_else(|| Error::Composition("a batch without global crops".into()))?;
    Ok(BatchViews { global, local: groups.next(), drawn: BTreeMap::new() })
}

/// Noise of the shapes that a configuration's views have, drawn from its seed.
pub fn synthetic(config: &RunConfig, device: &Device) -> Result<BatchViews> {
    let (views, batch) = (&config.views, config.train.batch_size);
    let noise = |crops: usize, size: usize| -> Result<Array> {
        let shape = (crops, batch, 3, size, size);
        let values = random::normal(crops * batch * 3 * size * size);
        let array = Array::from_vec(values, shape, &Device::Cpu).and_then(|a| a.to_device(device));
        Ok(array.map_err(hssl_tensor::Error::from)?)
    };
    random::scope(config.train.seed, u64::MAX, || {
        Ok(BatchViews {
            global: noise(views.global_crops_number, views.global_crops_size)?,
            local: (views.local_crops_number > 0)
                .then(|| noise(views.local_crops_number, views.local_crops_size))
                .transpose()?,
            drawn: BTreeMap::new(),
        })
    })
}
