//! Loaded images on a device. Floats are made where they are used: a GPU is sent bytes.

use hssl_datasets::{Batch, Delivery, LoaderOptions, Pixels, ViewGroup};
use hssl_tensor::{Array, Device, cuda};

use crate::error::{Error, Result};

/// What a loader of images is to deliver for a device.
pub(crate) fn options_for(options: LoaderOptions, device: &Device) -> LoaderOptions {
    let delivery = if device.is_cuda() { Delivery::Bytes } else { Delivery::Floats };
    LoaderOptions { delivery, ..options }
}

/// A batch's groups of views on a device, normalised: (views, images, 3, height, width) each. The batch is
/// left without them.
pub(crate) fn arrays(batch: &mut Batch, device: &Device) -> Result<Vec<Array>> {
    let images = std::mem::take(&mut batch.images);
    let images = match images.is_empty() {
        true => None,
        false => Some(cuda::upload(&images, images.len(), device)?),
    };
    std::mem::take(&mut batch.groups)
        .into_iter()
        .map(|group| array(group, images.as_ref(), device))
        .collect()
}

fn array(group: ViewGroup, images: Option<&Array>, device: &Device) -> Result<Array> {
    let shape = [group.views, group.batch, 3, group.height, group.width];
    match group.pixels {
        Pixels::Floats(values) => {
            let array = Array::from_vec(values, &shape, &Device::Cpu)
                .and_then(|array| array.to_device(device))
                .map_err(hssl_tensor::Error::from)?;
            Ok(array)
        }
        Pixels::Bytes { values, normalisation } => {
            Ok(cuda::normalised(&values, &shape, &normalisation.tables(), device)?)
        }
        Pixels::Drawn(drawn) => {
            let images = images.ok_or_else(|| {
                Error::Composition("a batch of views to be made, without images".into())
            })?;
            let tables = drawn.normalisation.tables();
            let recipes = cuda::Recipes {
                words: drawn.words,
                weights: drawn.weights,
                between: drawn.between,
                tallest: drawn.tallest,
            };
            Ok(cuda::make_views(images, recipes, &shape, &tables)?)
        }
    }
}
