//! Loader batches as tensors of views.

use std::collections::BTreeMap;

use hssl_datasets::{Batch, ViewGroup};
use hssl_tensor::{Array, Device};

use super::BatchViews;
use crate::error::{Error, Result};

/// Moves a batch's views to a device: globals first, locals second if there are any.
pub fn views(batch: Batch, device: &Device) -> Result<BatchViews> {
    let mut groups = batch.groups.into_iter();
    let global =
        groups.next().ok_or_else(|| Error::Composition("a batch without global crops".into()))?;
    Ok(BatchViews {
        global: array(global, device)?,
        local: groups.next().map(|group| array(group, device)).transpose()?,
        drawn: BTreeMap::new(),
    })
}

fn array(group: ViewGroup, device: &Device) -> Result<Array> {
    let shape = (group.views, group.batch, 3, group.height, group.width);
    let array = Array::from_vec(group.data, shape, &Device::Cpu)
        .and_then(|array| array.to_device(device))
        .map_err(hssl_tensor::Error::from)?;
    Ok(array)
}
